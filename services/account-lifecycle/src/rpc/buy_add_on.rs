//! `AccountService.CreateOrder` for an add-on.

use chassis::{Call, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::buy_credits::{line, quoted};
use super::convert;
use crate::ctx::Ctx;
use crate::domain::order::Effect;
use crate::domain::permission::Action;
use crate::domain::purchase::{LineKind, Purchase};
use crate::error::Error;
use crate::ops::permit;
use crate::store::orders::{self, Order};

/// Quotes an add-on of the plan in force: its monthly price, charged to the balance (REQ-085).
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::AddOnPurchase,
) -> Result<pb::CreateOrderResponse, Error> {
    let code = wire::code("add_on_purchase.add_on_code", &asked.add_on_code)?;
    let account = permit::acting(ctx, call, id, Action::ChangePlan).await?;
    let would = ctx.add_on_would_be(id, code).await?;
    permit::taxable(ctx, &account).await?;
    let words = format!("{code}: monthly, from the balance");
    let price = would.monthly_price.as_ref();
    let lines = vec![line(&words, LineKind::Rental, price)?];
    let purchase = Purchase::AddOn {
        code: code.to_owned(),
    };
    let order = Order {
        effect: Effect::Immediate,
        effective_at: Some(call.now),
        ..quoted(call, &account, (purchase, "Buy add-on"), lines)
    };
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}
