//! `BillingService.CreateCreditNote`

use std::sync::Arc;

use chassis::{Call, PgConnection, Unit, field_error, wire};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{InvoiceId, business_day};

use super::list_credit_notes::shown;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::credit::{Split, creditable, split};
use crate::domain::invoice::{Event, State, after};
use crate::domain::lots::LotKind;
use crate::domain::refund;
use crate::error::Error;
use crate::ops::credit::{self, Credit, LotTerms};
use crate::ops::{collect, end_invoice, renewal, settle};
use crate::store::credit_notes::{self, CreditNote};
use crate::store::invoices::{self, Invoice};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::refunds::{self, Refund};
use crate::store::{self, accounts, collections, numbers};

pub async fn handle(
    _: Ctx,
    call: Call<pb::CreateCreditNoteRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::CreateCreditNoteResponse, Error> {
    let request = &call.message;
    let id: InvoiceId = wire::id("invoice_id", &request.invoice_id)?;
    let amount = wire::money("amount", request.amount.as_ref())?;
    if amount.minor() <= 0 {
        return Err(field_error("amount.amount", "above zero").into());
    }
    let reason = wire::text("reason", &request.reason, 200)?;
    let invoice = end_invoice::locked(&mut unit.tx, id).await?;
    unit.about(invoice.root_id);
    unit.concerns::<Error>(invoice.root_id).await?;
    let db = &mut *unit.tx;
    if !matches!(invoice.state, State::Open | State::Paid) {
        return Err(Error::InvoiceNotOpen(id));
    }
    renewal::not_ending(db, &invoice).await?;
    let currency = store::currency(&invoice.currency)?;
    if amount.currency() != currency {
        let expected = format!("the currency of the invoice, {currency}");
        return Err(field_error("amount.currency_code", expected).into());
    }
    let earned = end_invoice::earned(db, &invoice).await?;
    let most = |wanted| creditable(wanted, earned.total(), invoice.credited_minor);
    if most(amount.minor()) < amount.minor() {
        return Err(Error::CreditExceedsInvoice {
            invoice: id,
            left: values::Money::from_minor(most(i64::MAX), currency).to_string(),
        });
    }
    let due = invoice.due_minor();
    let parts = split(earned, invoice.credited_minor, amount.minor(), due);
    if request.refund_to_charge {
        refunded(db, &call, &invoice, parts, &catalogue).await?;
    }
    post(db, &call, &invoice, parts, &catalogue).await?;
    let event = if due <= amount.minor() {
        Event::Settled
    } else {
        Event::Reduced
    };
    let state = after(invoice.state, event).ok_or(Error::Stored("invoice"))?;
    invoices::credit(db, invoice.invoice_id, amount.minor(), state).await?;
    if state == State::Paid {
        renewal::paid(db, invoice.invoice_id).await?;
    }
    let account = accounts::get(db, invoice.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let series_id =
        settle::series_of(db, &catalogue, (&account.profile_code, "-CN"), call.now).await?;
    let note = CreditNote {
        root_id: invoice.root_id,
        credit_note_id: Uuid::now_v7(),
        series_id,
        number: numbers::take(db, series_id, 1).await?,
        invoice_id: invoice.invoice_id,
        currency: invoice.currency.clone(),
        amount_minor: amount.minor(),
        tax_minor: Some(parts.tax_due.saturating_add(parts.tax_balance)),
        reason: reason.to_owned(),
        created_by: call.caller.to_string(),
        issued_at: call.now,
    };
    credit_notes::insert(db, &note).await?;
    let series = numbers::get_all(db, &[series_id]).await?;
    let credit_note = Some(shown(&note, &series)?);
    Ok(unit
        .commit(pb::CreateCreditNoteResponse { credit_note })
        .await?)
}

/// Stores a refund of the paid part of a credit to the charge that paid the invoice; a job requests it from
/// `payments`.
async fn refunded(
    db: &mut PgConnection,
    call: &Call<pb::CreateCreditNoteRequest>,
    invoice: &Invoice,
    parts: Split,
    catalogue: &Catalogue,
) -> Result<(), Error> {
    let root = invoice.root_id;
    let amount_minor = parts.net_balance + parts.tax_balance;
    if amount_minor == 0 {
        return Ok(());
    }
    let charge = collections::charge_of_invoice(db, (root, invoice.invoice_id)).await?;
    let id = InvoiceId::from_uuid(invoice.invoice_id);
    let charge = charge.ok_or(Error::InvoiceNotCharged(id))?;
    if charge.left_minor < amount_minor {
        let currency = store::currency(&invoice.currency)?;
        return Err(Error::CreditExceedsCharge {
            invoice: id,
            left: values::Money::from_minor(charge.left_minor.max(0), currency).to_string(),
        });
    }
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let profile = collect::profile(catalogue, &account)?;
    let days = profile
        .refund
        .as_ref()
        .map_or(0, |policy| policy.due_business_days);
    let refund = Refund {
        root_id: root,
        refund_id: call.derived_id("refund"),
        intent_id: call.derived_id("credit note"),
        lot_id: None,
        charge_id: Some(charge.charge_id),
        currency: invoice.currency.clone(),
        amount_minor,
        tax_minor: parts.tax_balance,
        fee_minor: 0,
        state: refund::State::Created,
        attempt_number: 1,
        refusals: 0,
        manual: false,
        payments_refund_id: None,
        due_on: business_day(profile.zone.day(call.now), days, &profile.holidays),
        created_at: call.now,
        updated_at: call.now,
    };
    Ok(refunds::insert(db, &refund).await?)
}

/// Posts a credit note: against the amount due, and the rest to the balance or to the refund of the charge.
async fn post(
    db: &mut PgConnection,
    call: &Call<pb::CreateCreditNoteRequest>,
    invoice: &Invoice,
    parts: Split,
    catalogue: &Catalogue,
) -> Result<(), Error> {
    let root = invoice.root_id;
    let before = ledger::balance(db, root, call.now).await?;
    let mut entries = Entries::new(&invoice.currency, call.now);
    let micros = |minor| store::micros(minor, &invoice.currency);
    for (what, source, due, balance) in [
        (
            "net",
            LedgerAccount::Revenue,
            parts.net_due,
            parts.net_balance,
        ),
        ("tax", LedgerAccount::Tax, parts.tax_due, parts.tax_balance),
    ] {
        let seed = call.derived_id(what);
        if 0 < due {
            let entry = Entry {
                root_id: root,
                debit: source,
                credit: LedgerAccount::Receivable,
                amount_micros: micros(due)?,
                lot_id: None,
                invoice_id: Some(invoice.invoice_id),
                reason: "CREDIT_NOTE",
            };
            entries.add(Uuid::new_v5(&seed, b"due"), &entry);
        }
        if 0 < balance && call.message.refund_to_charge {
            let entry = Entry {
                root_id: root,
                debit: source,
                credit: LedgerAccount::Refunds,
                amount_micros: micros(balance)?,
                lot_id: None,
                invoice_id: Some(invoice.invoice_id),
                reason: "CREDIT_NOTE",
            };
            entries.add(Uuid::new_v5(&seed, b"refund"), &entry);
        } else if 0 < balance {
            let credit = Credit {
                root,
                kind: LotKind::Promo,
                source,
                micros: micros(balance)?,
                terms: LotTerms::default(),
                word: "CREDIT_NOTE",
                reason: "CREDIT_NOTE",
                collection: None,
                seed,
            };
            credit::add(db, &credit, &mut entries, call.now).await?;
        }
    }
    entries.copy(db).await?;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let notify_below = collect::profile(catalogue, &account)?.notify_below_micros;
    credit::balance_moved(db, (root, before), notify_below, call.now).await
}
