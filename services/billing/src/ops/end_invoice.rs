//! Ends an open invoice that is not paid: voids it or writes it off.

use chassis::{Call, PgConnection, Unit};
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::{AccountId, InvoiceId};

use super::renewal;
use crate::domain::collection::LineKind;
use crate::domain::credit::{Earned, split};
use crate::domain::invoice::{Event, State, after};
use crate::error::Error;
use crate::store;
use crate::store::collections;
use crate::store::invoices::{self, Ended, Invoice};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};

/// How an unpaid invoice ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It should not have been issued; its revenue and tax are reversed.
    Void,
    /// It will not be paid; the receivable is written off and the revenue stays.
    Uncollectible,
}

impl End {
    const fn event(self) -> Event {
        match self {
            Self::Void => Event::Voided,
            Self::Uncollectible => Event::WrittenOff,
        }
    }

    /// Splits the amount due by the ledger account it is debited from, in minor units.
    fn parts(self, earned: Earned, credited: i64, due: i64) -> [(LedgerAccount, i64); 2] {
        match self {
            Self::Void => {
                let parts = split(earned, credited, due, due);
                [
                    (LedgerAccount::Revenue, parts.net_due),
                    (LedgerAccount::Tax, parts.tax_due),
                ]
            }
            Self::Uncollectible => [(LedgerAccount::WrittenOff, due), (LedgerAccount::Tax, 0)],
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Void => "VOID",
            Self::Uncollectible => "UNCOLLECTIBLE",
        }
    }
}

/// The revenue and tax of an invoice. Credit bought with it is not revenue; a refund returns it.
pub async fn earned(db: &mut PgConnection, invoice: &Invoice) -> Result<Earned, Error> {
    let sum = |minors: &mut dyn Iterator<Item = i64>| minors.fold(0_i64, i64::saturating_add);
    // Invoices of a month, from a run or a closing, have a family code.
    if !invoice.family_code.is_empty() {
        let taxes = invoices::taxes(db, invoice.invoice_id).await?;
        let tax = sum(&mut taxes.iter().map(|tax| tax.amount_minor));
        return Ok(Earned::of(invoice.total_minor - tax, 0, tax));
    }
    let lines = collections::lines(db, invoice.invoice_id).await?;
    let credits = lines.iter().filter(|line| line.kind == LineKind::Credits);
    let credits = sum(&mut credits.map(|line| line.amount_minor));
    let net = sum(&mut lines.iter().map(|line| line.amount_minor));
    let tax = invoice.total_minor - net;
    Ok(Earned::of(net - credits, credits, tax))
}

/// Locks the balance of an invoice's account and returns the invoice.
///
/// # Errors
/// `InvoiceNotFound`.
pub async fn locked(db: &mut PgConnection, id: InvoiceId) -> Result<Invoice, Error> {
    let known = invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))?;
    ledger::lock(db, &[known.root_id]).await?;
    invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))
}

/// Ends an open invoice with ledger entries, under the lock of its account's balance, and returns the ended invoice. If
/// it bills a cycle, the plan ends as after the last retry.
///
/// # Errors
/// `PaymentUnderWay` while a charge of it may still succeed; `InvoicePaidInPart` if a partly paid one is to be
/// voided; `InvoiceNotOpen`.
pub async fn end<M>(
    unit: &mut Unit,
    call: &Call<M>,
    id: InvoiceId,
    (end, reason): (End, &str),
) -> Result<Invoice, Error> {
    let known = locked(&mut unit.tx, id).await?;
    unit.about(known.root_id);
    let db = &mut *unit.tx;
    if known.state == State::Open {
        // A payment under way would arrive as credit although the receivable has been removed.
        if collections::paying(db, id.uuid()).await?.is_some() {
            return Err(Error::PaymentUnderWay(AccountId::from_uuid(known.root_id)));
        }
        // Voiding reverses only the amount due; a credit note also returns the part that was paid.
        if end == End::Void && 0 < known.charged_minor {
            return Err(Error::InvoicePaidInPart(id));
        }
    }
    let by = (call.caller.to_string(), call.derived_id("ended"));
    if !close(db, &known, (end, reason), by, call.now).await? {
        return Err(Error::InvoiceNotOpen(id));
    }
    renewal::not_owed(db, id.uuid(), call.now).await?;
    invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::Stored("invoice"))
}

/// Ends an open invoice with its ledger entries, whose ids follow from a seed; `false` if it is not open. The caller
/// holds the lock of the account's balance and knows that no payment is under way.
pub async fn close(
    db: &mut PgConnection,
    known: &Invoice,
    (end, reason): (End, &str),
    (ended_by, seed): (String, Uuid),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Some(state) = after(known.state, end.event()) else {
        return Ok(false);
    };
    if !invoices::end_open(db, known.invoice_id, state).await? {
        return Ok(false);
    }
    let earned = earned(db, known).await?;
    let mut entries = Entries::new(&known.currency, now);
    for (debit, minor) in end.parts(earned, known.credited_minor, known.due_minor()) {
        let micros = store::micros(minor, &known.currency)?;
        let entry = Entry {
            root_id: known.root_id,
            debit,
            credit: LedgerAccount::Receivable,
            amount_micros: micros,
            lot_id: None,
            invoice_id: Some(known.invoice_id),
            reason: end.word(),
        };
        if 0 < micros {
            let place = debit.number().to_string();
            entries.add(Uuid::new_v5(&seed, place.as_bytes()), &entry);
        }
    }
    entries.copy(db).await?;
    let ended = Ended {
        invoice_id: known.invoice_id,
        root_id: known.root_id,
        state,
        reason: reason.to_owned(),
        ended_by,
        ended_at: now,
    };
    invoices::insert_ended(db, &ended).await?;
    Ok(true)
}
