//! Deletes changes of e-mail addresses whose code has expired: an address that nobody confirmed is not kept.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, email_changes};

/// Changes deleted per step.
const BATCH: i64 = 100;

/// Deletes the changes that are due; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let expired = email_changes::expire(&mut tx, now, BATCH).await?;
    tx.commit().await?;
    Ok(usize::try_from(expired).unwrap_or(usize::MAX))
}
