//! Forfeits expired credit with ledger entries (C-14, D26).
//!
//! A run settles as of its cut-off time, so credit valid at the cut-off is left until the run has ended.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{collect, credit};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, accounts, runs};

/// Forfeits the expired credit of some root accounts, each in its own transaction; returns how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut db = ctx.db.acquire().await?;
        let as_of = expired_as_of(&mut db, now).await?;
        Ok::<_, Error>(ledger::roots_with_expired(&mut db, as_of, limit).await?)
    };
    let catalogue = OnceCell::new();
    let one = async |root: &Uuid| {
        let catalogue = catalogue.get_or_try_init(|| ctx.active_catalogue()).await?;
        forfeit(ctx, catalogue, *root, now).await
    };
    super::queue(ctx, "expire_lots").work(ctx, due, one).await
}

/// Forfeits the expired credit of a root account.
async fn forfeit(
    ctx: &Ctx,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    // Read under the lock, so that credit spent meanwhile is not forfeited.
    ledger::lock(&mut tx, &[root]).await?;
    let as_of = expired_as_of(&mut tx, now).await?;
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
        // A lot expires once: the entry has the id of the lot.
        entries.add(lot.id, &entry);
    }
    entries.copy(&mut tx).await?;
    ledger::forfeit(&mut tx, root, (as_of, now)).await?;
    // The balance fell when the credit expired; the crossing is published now.
    let after = ledger::balance(&mut tx, root, now).await?;
    let before = after.saturating_add(forfeited);
    let account = accounts::get(&mut tx, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let low = collect::profile(catalogue, &account)?.notify_below_micros;
    credit::balance_moved(&mut tx, (root, before), low, now).await?;
    Ok(tx.commit().await?)
}

/// The next expiry of credit, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    let as_of = expired_as_of(db, until).await?;
    ledger::next_expiry(db, as_of).await
}

/// The latest expiry time that may be forfeited at `now`.
async fn expired_as_of(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<DateTime<Utc>> {
    let cut_off = runs::earliest_cut_off(db).await?;
    Ok(cut_off.map_or(now, |cut_off| cut_off.min(now)))
}
