//! Erases the payment methods of deleted accounts that were retained for a refund, once it has ended (REQ-070).

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, methods};

/// Runs one round; returns how many methods it erased.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let erased = methods::erase_kept(&mut tx, now).await?;
    tx.commit().await?;
    Ok(erased)
}
