//! `BillingService.RecordInvoicePayment`

use std::sync::Arc;

use chassis::{Call, PgConnection, Unit, field_error, wire};
use chrono::NaiveDate;
use proto::billing::v1 as pb;
use values::{AccountId, InvoiceId, Money};

use super::convert;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::invoice::State;
use crate::error::Error;
use crate::ops::{collect, dun, end_invoice, renewal};
use crate::store::invoice_payments::{self, InvoicePayment};
use crate::store::invoices::{self, Invoice};
use crate::store::ledger::Entries;
use crate::store::{accounts, collections};

pub async fn handle(
    _: Ctx,
    call: Call<pb::RecordInvoicePaymentRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::RecordInvoicePaymentResponse, Error> {
    let request = &call.message;
    let id: InvoiceId = wire::id("invoice_id", &request.invoice_id)?;
    let amount = wire::money("amount", request.amount.as_ref())?;
    if amount.minor() <= 0 {
        return Err(field_error("amount.amount", "above zero").into());
    }
    let reference = wire::text("reference", &request.reference, 100)?;
    let received_on: NaiveDate = request
        .received_date
        .parse()
        .map_err(|_| field_error("received_date", "a day, such as 2026-05-20"))?;
    let invoice = end_invoice::locked(&mut unit.tx, id).await?;
    unit.about(invoice.root_id);
    let db = &mut *unit.tx;
    let account = accounts::get(db, invoice.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    if collect::profile(&catalogue, &account)?.zone.day(call.now) < received_on {
        return Err(field_error("received_date", "not later than today").into());
    }
    let payment = InvoicePayment {
        payment_id: call.derived_id("payment"),
        root_id: invoice.root_id,
        invoice_id: invoice.invoice_id,
        amount_minor: amount.minor(),
        reference: reference.to_owned(),
        received_on,
        recorded_by: call.caller.to_string(),
        recorded_at: call.now,
    };
    if invoice.currency != amount.currency().code() {
        let expected = format!("the currency of the invoice, {}", invoice.currency);
        return Err(field_error("amount.currency_code", expected).into());
    }
    match invoice_payments::get(db, payment.root_id, reference).await? {
        Some(known) if is_same(&known, &payment) => {}
        Some(_) => return Err(Error::PaymentExists(reference.to_owned())),
        None => record(db, (&invoice, amount), &payment).await?,
    }
    let invoice = invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::Stored("invoice"))?;
    let shown = convert::whole_invoice(db, &invoice).await?;
    Ok(unit
        .commit(pb::RecordInvoicePaymentResponse {
            invoice: Some(shown),
        })
        .await?)
}

/// Whether two records are the same payment, whoever recorded them and when.
fn is_same(known: &InvoicePayment, sent: &InvoicePayment) -> bool {
    (known.invoice_id, known.amount_minor, known.received_on)
        == (sent.invoice_id, sent.amount_minor, sent.received_on)
}

/// Posts a payment of an invoice. The account's balance is locked.
async fn record(
    db: &mut PgConnection,
    (invoice, amount): (&Invoice, Money),
    payment: &InvoicePayment,
) -> Result<(), Error> {
    let id = InvoiceId::from_uuid(invoice.invoice_id);
    if invoice.state != State::Open {
        return Err(Error::InvoiceNotOpen(id));
    }
    // The charge under way could pay the invoice a second time.
    if collections::paying(db, invoice.invoice_id).await?.is_some() {
        return Err(Error::PaymentUnderWay(AccountId::from_uuid(
            invoice.root_id,
        )));
    }
    renewal::not_ending(db, invoice).await?;
    let due = Money::from_minor(invoice.due_minor(), amount.currency());
    if due.minor() < amount.minor() {
        return Err(field_error("amount.amount", format!("at most the amount due, {due}")).into());
    }
    let mut entries = Entries::new(&invoice.currency, payment.recorded_at);
    let money = (amount.minor(), payment.payment_id);
    dun::pay(db, invoice, money, &mut entries, payment.recorded_at).await?;
    entries.copy(db).await?;
    Ok(invoice_payments::insert(db, payment).await?)
}
