//! `AccountService.CreateOrder` for an unpaid billing cycle.

use chassis::{Call, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use proto::r#type::v1::Money;
use values::{AccountId, CollectionId, Currency, MethodId};

use super::buy_credits::{line, quoted};
use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::domain::purchase::{LineKind, Purchase};
use crate::error::Error;
use crate::ops::{pay, permit};
use crate::store::orders::{self, Order};

/// Quotes the unpaid cycle: the amount of its collection, to be paid on-session by the customer (D13).
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::RenewalPayment,
) -> Result<pb::CreateOrderResponse, Error> {
    let family = wire::code("renewal_payment.family_code", &asked.family_code)?;
    let method: MethodId = wire::id(
        "renewal_payment.payment_method_id",
        &asked.payment_method_id,
    )?;
    let account = permit::acting(ctx, call, id, Action::BuyCredits).await?;
    let due = ctx.subscription(id, family).await?;
    let due = due.filter(|it| it.state() == billing::subscription::State::PastDue);
    let collection = due.and_then(|it| it.collection_id.parse::<CollectionId>().ok());
    let collection = collection.ok_or(Error::NothingDue(id))?;
    let due = ctx.collection(collection).await?;
    pay::usable(ctx, &account, method).await?;
    let net = net(&due).ok_or(Error::Stored("collection of billing"))?;
    let mut lines = vec![line(
        "billing cycle due",
        LineKind::Subscription,
        Some(&net),
    )?];
    for tax in &due.taxes {
        let kind = LineKind::Tax(tax.tax_code.clone());
        lines.push(line(&tax.tax_code, kind, tax.amount.as_ref())?);
    }
    let order = Order {
        method_id: Some(method.uuid()),
        ..quoted(
            call,
            &account,
            (Purchase::PayRenewal { collection }, "Pay"),
            lines,
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

/// The amount of a collection without tax.
fn net(due: &billing::Collection) -> Option<Money> {
    let total = due.amount.as_ref()?;
    let currency: Currency = total.currency_code.parse().ok()?;
    let minor = |it: &Money| Some(values::Money::parse(&it.amount, currency).ok()?.minor());
    let mut net = minor(total)?;
    for tax in &due.taxes {
        net -= minor(tax.amount.as_ref()?)?;
    }
    Some(wire::pb_money(values::Money::from_minor(net, currency)))
}
