//! `AccountService.CreateOrder` for a refund of unspent credit.

use chassis::{Call, field_error, wire};
use proto::account::v1 as pb;
use proto::r#type::v1::Money;
use values::AccountId;

use super::buy_credits::{line, quoted};
use super::convert;
use crate::ctx::Ctx;
use crate::domain::order::Effect;
use crate::domain::permission::Action;
use crate::domain::purchase::{Line, LineKind, Purchase, Refund};
use crate::error::Error;
use crate::ops::permit;
use crate::store::orders::{self, Order};

/// Quotes a refund of unspent paid credit, and the fee that is deducted (REQ-122).
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::RefundOrder,
) -> Result<pb::CreateOrderResponse, Error> {
    if asked.amount.is_some() {
        let amount = wire::money("refund_order.amount", asked.amount.as_ref())?;
        if amount.minor() <= 0 {
            return Err(field_error("refund_order.amount.amount", "an amount above zero").into());
        }
    }
    let account = permit::acting(ctx, call, id, Action::BuyCredits).await?;
    let would = ctx.refund_would_be(id, asked.amount.clone()).await?;
    // The refund is a negative line, since the customer receives it; the fee is a separate line.
    let back = would.amount.clone().map(|it| Money {
        amount: format!("-{}", it.amount),
        ..it
    });
    let mut lines = vec![line(
        "refund to the original payments, tax included",
        LineKind::Refund,
        back.as_ref(),
    )?];
    let fee = would
        .fee
        .filter(|it| it.amount.bytes().any(|b| (b'1'..=b'9').contains(&b)));
    if let Some(fee) = fee {
        lines.push(Line {
            estimated: true,
            ..line("refund fee", LineKind::Fee, Some(&fee))?
        });
    }
    let asked = asked.amount.as_ref();
    let purchase = Purchase::RefundRequest(Refund {
        amount: asked.map(|it| it.amount.clone()).unwrap_or_default(),
        quoted: would.amount.map(|it| it.amount).unwrap_or_default(),
    });
    let order = Order {
        effect: Effect::Immediate,
        effective_at: Some(call.now),
        warnings: vec!["AUTO_RECHARGE_SWITCHED_OFF".to_owned()],
        ..quoted(call, &account, (purchase, "Ask for refund"), lines)
    };
    let mut unit = permit::step(ctx, call, &account).await?;
    orders::insert(&mut unit.tx, &order).await?;
    Ok(unit
        .commit(pb::CreateOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}
