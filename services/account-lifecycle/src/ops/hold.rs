//! Numbers of an account without a paid plan, or with an empty balance: held for the days of its profile, then
//! released, as its owner is told before (C-22, D26).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::AccountId;

use super::authorize::number_kinds;
use super::notify::{self, News};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{self, Tenant, accounts, resources};

/// Dates the release of the numbers of a root account that is locked, and tells its owner where it has some.
pub async fn dated(
    db: &mut PgConnection,
    root: Uuid,
    days: (Option<i32>, Option<i32>),
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Error> {
    let release = accounts::set_release(db, root, days, now).await?;
    let Some(at) = release.filter(|at| now < *at) else {
        return Ok(release);
    };
    if 0 < resources::count(db, (root, &number_kinds(true)), now).await? {
        told(db, root, ("NUMBERS_AT_RISK", at), now).await?;
    }
    Ok(release)
}

/// Releases the numbers of accounts whose time has come; gives of how many accounts.
pub async fn release(ctx: &Ctx, limit: i64) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let due = accounts::to_release(&mut tx, now, limit).await?;
    tx.commit().await?;
    for root in &due {
        let mut tx = ctx.db.begin().await?;
        store::enter(&mut tx, Tenant::Root(*root)).await?;
        let account = accounts::get(&mut tx, *root).await?;
        tx.commit().await?;
        let account = account.ok_or(Error::Stored("account"))?;
        let days = ctx.profile_of(&account).await?.hold_days;
        let mut tx = ctx.db.begin().await?;
        store::enter(&mut tx, Tenant::Root(*root)).await?;
        accounts::lock(&mut tx, *root).await?;
        // As it stands under the lock: a plan may have been bought, or the balance filled.
        let at = dated(&mut tx, *root, days, now).await?;
        if let Some(at) = at.filter(|at| *at <= now) {
            let kinds = number_kinds(true);
            if 0 < resources::count(&mut tx, (*root, &kinds), now).await? {
                resources::release_all(&mut tx, (*root, &kinds), now).await?;
                told(&mut tx, *root, ("NUMBERS_RELEASED", at), now).await?;
            }
            accounts::set_released(&mut tx, *root).await?;
        }
        tx.commit().await?;
    }
    Ok(due.len())
}

async fn told(
    db: &mut PgConnection,
    root: Uuid,
    (kind, at): (&'static str, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let id = AccountId::from_uuid(root);
    let news = News {
        kind,
        event: format!("{kind} {id} {}", at.timestamp_micros()),
        facts: vec![("release_time", at.to_rfc3339())],
        invoice: None,
    };
    notify::owner(db, &account, &news, now).await
}
