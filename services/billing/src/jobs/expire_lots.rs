//! Forfeits what is left of credit that has expired, as entries of the ledger (C-14, D26).
//!
//! A run settles as of its cut-off: what was valid then is left until the run has ended.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{collect, credit};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, accounts, runs};

/// Root accounts whose credit is looked at in one transaction.
const ROOTS: i64 = 100;

/// Forfeits the expired credit of some root accounts; gives how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    if next_due(&mut *ctx.db.acquire().await?, now)
        .await?
        .is_none()
    {
        return Ok(0);
    }
    let catalogue = ctx.active_catalogue().await?;
    let mut tx = ctx.db.begin().await?;
    let as_of = expired_as_of(&mut tx, now).await?;
    let roots = ledger::roots_with_expired(&mut tx, as_of, ROOTS).await?;
    if roots.is_empty() {
        return Ok(0);
    }
    // Under the locks: what was spent until now is not forfeited.
    ledger::lock(&mut tx, &roots).await?;
    let found = roots.len();
    for root in roots {
        let (_, currency) = ledger::overdraft(&mut tx, root)
            .await?
            .ok_or(Error::Stored("balance"))?;
        let currency = store::currency(&currency)?;
        let mut entries = Entries::new(currency.code(), now);
        let mut forfeited = 0_i64;
        for (root, lot) in ledger::lots(&mut tx, (root, root)).await? {
            if lot.expires_at.is_none_or(|expiry| as_of < expiry) {
                continue;
            }
            let entry = Entry {
                root_id: root,
                debit: LedgerAccount::Lot(lot.kind),
                credit: LedgerAccount::Forfeited,
                amount_micros: lot.remaining_micros,
                lot_id: Some(lot.id),
                invoice_id: None,
                reason: "EXPIRED",
            };
            forfeited = forfeited.saturating_add(lot.remaining_micros);
            // A lot expires once: its id is its entry's.
            entries.add(lot.id, &entry);
        }
        entries.copy(&mut tx).await?;
        ledger::forfeit(&mut tx, root, (as_of, now)).await?;
        // At its expiry it was worth nothing: the balance fell then, and is told of now.
        let after = ledger::balance(&mut tx, root, now).await?;
        let before = after.saturating_add(forfeited);
        let account = accounts::get(&mut tx, root)
            .await?
            .ok_or(Error::Stored("account"))?;
        let low = collect::profile(&catalogue, &account)?.notify_below_micros;
        credit::balance_moved(&mut tx, (root, before), low, now).await?;
    }
    tx.commit().await?;
    Ok(found)
}

/// When credit expires next, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let as_of = expired_as_of(db, until).await?;
    ledger::next_expiry(db, as_of).await
}

/// The instant up to which expired credit may be forfeited at `now`.
async fn expired_as_of(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<DateTime<Utc>> {
    let cut_off = runs::earliest_cut_off(db).await?;
    Ok(cut_off.map_or(now, |cut_off| cut_off.min(now)))
}
