//! Records limits that have begun, at the end of a trial or of a subscription.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{hold, limit};
use crate::store::{Tenant, accounts};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = accounts::to_limit(&mut tx, now, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |root: &Uuid| told_of(ctx, *root, now).await;
    super::queue(ctx, "limit_accounts")
        .work(ctx, due, one)
        .await
}

async fn told_of(ctx: &Ctx, root: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let account = accounts::get(&mut tx, root).await?;
    tx.commit().await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let profile = ctx.profile_of(&account).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    limit::begun(&mut tx, root, profile.lapse_days, now).await?;
    hold::dated(&mut tx, root, profile.hold_days, now).await?;
    tx.commit().await?;
    Ok(())
}
