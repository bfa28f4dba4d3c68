//! `AccountService.CreateOrder` for an add-on.

use chassis::{Call, wire};
use proto::account::v1 as pb;
use serde_json::json;
use values::AccountId;

use super::buy_credits::{line, quoted};
use super::convert;
use crate::ctx::Ctx;
use crate::domain::order::{Effect, OrderKind};
use crate::domain::permission::Action;
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
    let lines = vec![line(&words, "RENTAL", would.monthly_price.as_ref())];
    let order = Order {
        effect: Effect::Immediate,
        effective_at: Some(call.now),
        item: json!({"code": code}),
        ..quoted(
            call,
            &account,
            (OrderKind::AddOn, "Buy add-on"),
            lines.into(),
        )
    };
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}
