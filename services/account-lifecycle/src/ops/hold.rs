//! Numbers of an account without a paid plan or with an empty balance. They are held for the days that the profile
//! grants and then released; the owner is warned before (C-22, D26).

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::AccountId;

use super::authorize::number_kinds;
use super::notify::{self, News};
use crate::ctx::Ctx;
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::store::{Tenant, accounts, resources};

/// Sets the release date of a root account's numbers and, if it has any, warns its owner. The caller has locked the
/// account.
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
    if 0 < resources::count(db, (root, &number_kinds()), now).await? {
        told(db, root, (Kind::NumbersAtRisk, at), now).await?;
    }
    Ok(release)
}

/// Releases the numbers of a root account whose release date has come.
pub async fn release(ctx: &Ctx, root: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let account = accounts::get(&mut tx, root).await?;
    tx.commit().await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let days = ctx.profile_of(&account).await?.hold_days;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    accounts::lock(&mut tx, root).await?;
    // Recomputed under the lock: in the meantime a plan may have been bought, or the balance topped up.
    let at = dated(&mut tx, root, days, now).await?;
    if let Some(at) = at.filter(|at| *at <= now) {
        let kinds = number_kinds();
        if 0 < resources::count(&mut tx, (root, &kinds), now).await? {
            resources::release_all(&mut tx, (root, &kinds), now).await?;
            told(&mut tx, root, (Kind::NumbersReleased, at), now).await?;
        }
        accounts::set_released(&mut tx, root).await?;
    }
    tx.commit().await?;
    Ok(())
}

async fn told(
    db: &mut PgConnection,
    root: Uuid,
    (kind, at): (Kind, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let id = AccountId::from_uuid(root);
    let news = News {
        kind,
        event: format!("{} {id} {}", kind.as_str(), at.timestamp_micros()),
        facts: vec![("release_time", at.to_rfc3339())],
        invoice: None,
    };
    notify::owner(db, &account, &news, now).await
}
