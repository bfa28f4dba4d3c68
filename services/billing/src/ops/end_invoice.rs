//! An open invoice that ends without being paid: undone, or written off.

use chassis::{Call, Unit};
use sqlx::PgConnection;
use values::{AccountId, InvoiceId};

use crate::domain::credit::{Earned, split};
use crate::error::Error;
use crate::store;
use crate::store::collections;
use crate::store::invoices::{self, Ended, Invoice, OPEN};
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

    /// What is due of an invoice, by the ledger account that it is taken from.
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

/// What was earned by an invoice: credit that was bought is not, it is given back by a refund.
pub async fn earned(db: &mut PgConnection, invoice: &Invoice) -> Result<Earned, Error> {
    let sum = |minors: &mut dyn Iterator<Item = i64>| minors.fold(0_i64, i64::saturating_add);
    // Of a month, whoever billed it: a run, or a closing.
    if !invoice.family_code.is_empty() {
        let taxes = invoices::taxes(db, invoice.invoice_id).await?;
        let tax = sum(&mut taxes.iter().map(|tax| tax.amount_minor));
        return Ok(Earned::of(invoice.total_minor - tax, 0, tax));
    }
    let lines = collections::lines(db, invoice.invoice_id).await?;
    let credits = lines.iter().filter(|line| line.kind == "CREDITS");
    let credits = sum(&mut credits.map(|line| line.amount_minor));
    let net = sum(&mut lines.iter().map(|line| line.amount_minor));
    let tax = invoice.total_minor - net;
    Ok(Earned::of(net - credits, credits, tax))
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
    if known.state == OPEN {
        // What is on its way would arrive as credit for what stood open, and be written off besides.
        if collections::paying(db, id.uuid()).await?.is_some() {
            return Err(Error::PaymentUnderWay(AccountId::from_uuid(known.root_id)));
        }
        // A credit note gives back what was paid of it; undoing what is due would not.
        if end == End::Void && 0 < known.charged_minor {
            return Err(Error::InvoicePaidInPart(id));
        }
    }
    if !invoices::end_open(db, id.uuid(), end.state()).await? {
        return Err(Error::InvoiceNotOpen(id));
    }
    let earned = earned(db, &known).await?;
    let mut entries = Entries::new(&known.currency, call.now);
    for (debit, minor) in end.parts(earned, known.credited_minor, due) {
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
            entries.add(
                call.derived_id(&format!("ended {}", debit.number())),
                &entry,
            );
        }
    }
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
