//! `AccountService.CreateOrder` for an open invoice.

use chassis::{Call, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use values::{AccountId, InvoiceId, MethodId};

use super::buy_credits::{line, quoted};
use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::domain::purchase::{LineKind, Purchase};
use crate::error::Error;
use crate::ops::{pay, permit};
use crate::store::orders::{self, Order};

/// Quotes the amount due of an invoice, taxes included.
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CreateOrderRequest>,
    id: AccountId,
    asked: &pb::InvoicePayment,
) -> Result<pb::CreateOrderResponse, Error> {
    let invoice: InvoiceId = wire::id("invoice_payment.invoice_id", &asked.invoice_id)?;
    let method: MethodId = wire::id(
        "invoice_payment.payment_method_id",
        &asked.payment_method_id,
    )?;
    let account = permit::acting(ctx, call, id, Action::BuyCredits).await?;
    let known = ctx.invoice(invoice).await?;
    // Another account's invoice gets the same answer as an unknown one.
    if known.account_id != AccountId::from_uuid(account.root_id).to_string() {
        return Err(Error::InvoiceNotFound(invoice));
    }
    if known.state() != billing::invoice::State::Open {
        return Err(Error::NothingDue(id));
    }
    pay::usable(ctx, &account, method).await?;
    let words = format!("invoice {}", known.number);
    let lines = vec![line(&words, LineKind::Invoice, known.amount_due.as_ref())?];
    let order = Order {
        method_id: Some(method.uuid()),
        ..quoted(
            call,
            &account,
            (Purchase::PayInvoice { invoice }, "Pay"),
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
