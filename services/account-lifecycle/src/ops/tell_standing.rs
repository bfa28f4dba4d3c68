//! Sends the standings of accounts to plan, billing and payments, which refuse methods by them (D37).
//!
//! A job sends what can't be sent at once. Each change has a revision, and the other services ignore an older one.

use chassis::PgConnection;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::Tenant;
use crate::store::roots::{self, Stands};

/// Accounts of one root that are sent at once; a job sends the rest.
const AT_ONCE: i64 = 10;

/// Sends the standings of an account and records it; idempotent.
pub async fn finish(ctx: &Ctx, standing: &Stands) -> Result<(), Error> {
    ctx.tell_standing(standing).await?;
    note(&mut ctx.db.acquire().await?, standing).await
}

/// Sends the standings of an account, if the other services have yet to receive them.
pub async fn of(ctx: &Ctx, account: Uuid) -> Result<(), Error> {
    match told(ctx, account).await? {
        Some(standing) => note(&mut ctx.db.acquire().await?, &standing).await,
        None => Ok(()),
    }
}

/// Tells how an account stands, where the others do not know, and gives what they know then: it is still to be noted.
pub async fn told(ctx: &Ctx, account: Uuid) -> Result<Option<Stands>, Error> {
    let untold = roots::untold(&mut ctx.db.acquire().await?, account).await?;
    if let Some(standing) = &untold {
        ctx.tell_standing(standing).await?;
    }
    Ok(untold)
}

/// Notes that the others know how an account stands.
pub async fn note(db: &mut PgConnection, standing: &Stands) -> Result<(), Error> {
    let revision = standing.standing_revision;
    Ok(roots::set_told(db, standing.account_id, revision).await?)
}

/// Tells what has changed of a root and its subaccounts, as far as that can be told now: whoever calls next finds
/// the others up to date.
pub async fn soon(ctx: &Ctx, root: Uuid) {
    if let Err(error) = changed(ctx, root).await {
        tracing::warn!(account.id = %root, error = %chassis::Chain(&error), "standings could not be sent; a job will retry");
    }
}

async fn changed(ctx: &Ctx, root: Uuid) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let waiting = roots::to_tell(&mut tx, Some(root), AT_ONCE).await?;
    tx.commit().await?;
    for standing in &waiting {
        finish(ctx, standing).await?;
    }
    Ok(())
}
