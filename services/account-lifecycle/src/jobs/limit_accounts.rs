//! Tells history of limits that have begun: the end of a trial, or of a subscription.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{hold, limit};
use crate::store::{self, Tenant, accounts};

/// How many are looked at in one step.
const BATCH: i64 = 50;

/// Tells of the limits that have begun; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let due = accounts::to_limit(&mut tx, now, BATCH).await?;
    tx.commit().await?;
    let mut told = 0;
    for root in due {
        match told_of(ctx, root, now).await {
            Ok(()) => told += 1,
            // One that fails must not stop the others.
            Err(error) => {
                tracing::error!(account.id = %root, error = %chassis::Chain(&error), "telling of a limit failed");
            }
        }
    }
    Ok(told)
}

async fn told_of(ctx: &Ctx, root: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(root)).await?;
    let account = accounts::get(&mut tx, root).await?;
    tx.commit().await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let profile = ctx.profile_of(&account).await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(root)).await?;
    limit::begun(&mut tx, root, profile.lapse_days, now).await?;
    hold::dated(&mut tx, root, profile.hold_days, now).await?;
    tx.commit().await?;
    Ok(())
}
