//! Credit added to a balance. It repays the overdraft first; the rest becomes a lot (D8).

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::lots::{Lot, LotKind};
use crate::domain::threshold;
use crate::error::Error;
use crate::store::auto_recharges;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::outbox::{self, Crossings};

/// Credit to add to a balance.
#[derive(Debug, Clone, Copy)]
pub struct Credit<'a> {
    /// The root account. The caller holds the lock of its balance.
    pub root: Uuid,
    /// The kind of credit.
    pub kind: LotKind,
    /// The ledger account to debit.
    pub source: LedgerAccount,
    /// Amount in millionths, above zero.
    pub micros: i64,
    /// Spending priority and expiry.
    pub terms: LotTerms,
    /// Reason on its ledger entries.
    pub word: &'static str,
    /// Reason stored on the lot.
    pub reason: &'a str,
    /// The collection that paid for it, if any.
    pub collection: Option<Uuid>,
    /// Seed from which the ids of the lot and its entries are derived.
    pub seed: Uuid,
}

/// Spending priority and expiry of credit. By default it has the same priority as other credit and never expires.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LotTerms {
    /// Credit with a lower number is spent first.
    pub priority: i16,
    /// Expiry time, exclusive; `None` if it never expires.
    pub expires_at: Option<DateTime<Utc>>,
}

/// The ledger account that granted credit is debited from. Trial and promotional credit is given away; paid credit
/// records money that an operator received outside the platform.
pub const fn grant_source(kind: LotKind) -> LedgerAccount {
    match kind {
        LotKind::Trial | LotKind::Promo => LedgerAccount::Granted,
        LotKind::Paid => LedgerAccount::Clearing,
    }
}

/// Adds credit. Returns the new lot, or `None` if the overdraft absorbed all of it.
pub async fn add(
    db: &mut PgConnection,
    credit: &Credit<'_>,
    entries: &mut Entries,
    now: DateTime<Utc>,
) -> Result<Option<Lot>, Error> {
    let (overdraft, _) = ledger::overdraft(db, credit.root)
        .await?
        .ok_or(Error::Stored("balance"))?;
    let id = |what: &str| Uuid::new_v5(&credit.seed, what.as_bytes());
    let entry = |to, amount_micros, lot_id| Entry {
        root_id: credit.root,
        debit: credit.source,
        credit: to,
        amount_micros,
        lot_id,
        invoice_id: credit.collection,
        reason: credit.word,
    };
    let repaid = overdraft.min(credit.micros);
    if 0 < repaid {
        ledger::overdraw(db, &[credit.root], &[-repaid]).await?;
        entries.add(id("repaid"), &entry(LedgerAccount::Overdraft, repaid, None));
    }
    let rest = credit.micros - repaid;
    if rest == 0 {
        return Ok(None);
    }
    let lot = Lot {
        id: id("lot"),
        kind: credit.kind,
        priority: credit.terms.priority,
        remaining_micros: rest,
        created_at: now,
        expires_at: credit.terms.expires_at,
    };
    ledger::insert_lot(db, credit.root, &lot, (credit.reason, credit.collection)).await?;
    entries.add(
        id("credited"),
        &entry(LedgerAccount::Lot(credit.kind), rest, Some(lot.id)),
    );
    Ok(Some(lot))
}

/// Publishes the thresholds that a balance has crossed since it was `before`, and, if the balance has fallen, marks
/// the account for the auto-recharge job.
pub async fn balance_moved(
    db: &mut PgConnection,
    (root, before): (Uuid, i64),
    notify_below: i64,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let after = ledger::balance(db, root, now).await?;
    let mut crossings = Crossings::default();
    for crossing in threshold::crossed(before, after, notify_below) {
        crossings.add(root, after, crossing);
    }
    outbox::balances_crossed(db, &crossings, now).await?;
    if after < before {
        auto_recharges::touch(db, &[root], now).await?;
    }
    Ok(())
}
