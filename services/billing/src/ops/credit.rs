//! Credit that comes in: what is owed is paid first, the rest is a lot (D8).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::lots::{Lot, LotKind};
use crate::domain::threshold;
use crate::error::Error;
use crate::store::auto_recharges;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::outbox::{self, Crossings};

/// Credit that comes in.
#[derive(Debug, Clone, Copy)]
pub struct Credit<'a> {
    /// The root account, whose balance is locked.
    pub root: Uuid,
    /// The kind.
    pub kind: LotKind,
    /// Where it comes from.
    pub source: LedgerAccount,
    /// How much, above zero.
    pub micros: i64,
    /// When it is spent.
    pub terms: LotTerms,
    /// The word on its entries.
    pub word: &'static str,
    /// Why, on the lot.
    pub reason: &'a str,
    /// The collection that paid for it.
    pub collection: Option<Uuid>,
    /// What the ids of lot and entries follow from.
    pub seed: Uuid,
}

/// When credit is spent: with others of its kind, and for ever, unless it was said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LotTerms {
    /// Credit of a lower number is spent before all other.
    pub priority: i16,
    /// From when it can't be spent.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Adds credit; gives the lot, where what was owed did not take all of it.
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

/// Tells what the balance of a root account has crossed since it was `before`, and has it looked at
/// where it is filled by itself.
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
