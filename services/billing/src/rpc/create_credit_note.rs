//! `BillingService.CreateCreditNote`

use std::sync::Arc;

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use sqlx::PgConnection;
use uuid::Uuid;
use values::InvoiceId;

use super::list_credit_notes::shown;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::credit::{Split, split};
use crate::domain::lots::LotKind;
use crate::error::Error;
use crate::ops::credit::{self, Credit, LotTerms};
use crate::ops::{collect, end_invoice, settle};
use crate::store::credit_notes::{self, CreditNote};
use crate::store::invoices::{self, Invoice, OPEN, PAID};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, accounts, numbers};

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
    let db = &mut *unit.tx;
    if invoice.state != OPEN && invoice.state != PAID {
        return Err(Error::InvoiceNotOpen(id));
    }
    let currency = store::currency(&invoice.currency)?;
    if amount.currency() != currency {
        let expected = format!("the currency of the invoice, {currency}");
        return Err(field_error("amount.currency_code", expected).into());
    }
    let earned = end_invoice::earned(db, &invoice).await?;
    let left = earned.total() - invoice.credited_minor;
    if left < amount.minor() {
        return Err(Error::CreditExceedsInvoice {
            invoice: id,
            left: values::Money::from_minor(left.max(0), currency).to_string(),
        });
    }
    let due = invoice.due_minor();
    let parts = split(earned, invoice.credited_minor, amount.minor(), due);
    post(db, &call, &invoice, parts, &catalogue).await?;
    let state = if due <= amount.minor() { PAID } else { OPEN };
    invoices::credit(db, invoice.invoice_id, amount.minor(), state).await?;
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

/// Posts a credit: against what is due, and to the balance.
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
        if 0 < balance {
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
