//! An open invoice that ends without being paid: undone, or written off.

use chassis::{Call, Unit};
use sqlx::PgConnection;
use values::{Currency, InvoiceId};

use crate::error::Error;
use crate::store::invoices::{self, Ended, Invoice};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};

/// How an invoice ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It should not have been issued: what was earned by it is taken back.
    Void,
    /// Nobody will pay it: what is owed is written off, what was earned stays.
    Uncollectible,
}

impl End {
    const fn state(self) -> i16 {
        match self {
            Self::Void => 3,
            Self::Uncollectible => 4,
        }
    }

    const fn entry(self) -> (LedgerAccount, &'static str) {
        match self {
            Self::Void => (LedgerAccount::Revenue, "VOID"),
            Self::Uncollectible => (LedgerAccount::WrittenOff, "UNCOLLECTIBLE"),
        }
    }
}

/// The invoice `id` as it is under the lock of its account's balance.
pub async fn locked(db: &mut PgConnection, id: InvoiceId) -> Result<Invoice, Error> {
    let known = invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))?;
    ledger::lock(db, &[known.root_id]).await?;
    invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))
}

/// Ends an open invoice by entries, under the lock of its account's balance, and gives it as it is.
pub async fn end<M>(
    unit: &mut Unit,
    call: &Call<M>,
    id: InvoiceId,
    (end, reason): (End, &str),
) -> Result<Invoice, Error> {
    let known = locked(&mut unit.tx, id).await?;
    unit.about(known.root_id);
    let db = &mut *unit.tx;
    let due = known.due_minor();
    if !invoices::end_open(db, id.uuid(), end.state()).await? {
        return Err(Error::InvoiceNotOpen(id));
    }
    let currency: Currency = known
        .currency
        .parse()
        .map_err(|_| Error::Stored("currency"))?;
    let micros = due
        .checked_mul(currency.micros_per_minor())
        .ok_or(Error::Stored("sum of an invoice"))?;
    let (debit, word) = end.entry();
    let entry = Entry {
        root_id: known.root_id,
        debit,
        credit: LedgerAccount::Receivable,
        amount_micros: micros,
        lot_id: None,
        invoice_id: Some(known.invoice_id),
        reason: word,
    };
    let mut entries = Entries::new(&known.currency, call.now);
    entries.add(call.derived_id("ended"), &entry);
    entries.copy(db).await?;
    let ended = Ended {
        invoice_id: known.invoice_id,
        root_id: known.root_id,
        state: end.state(),
        reason: reason.to_owned(),
        ended_by: call.caller.to_string(),
        ended_at: call.now,
    };
    invoices::insert_ended(db, &ended).await?;
    invoices::get(db, id.uuid())
        .await?
        .ok_or(Error::Stored("invoice"))
}
