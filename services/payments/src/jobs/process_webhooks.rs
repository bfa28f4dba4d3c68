//! Processes webhooks that were kept.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::process_webhook::process;
use crate::store::webhooks;

/// Processes the one that has waited longest; gives how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let taken = webhooks::take(&mut *ctx.db.acquire().await?, ctx.lease_seconds).await?;
    let Some(event) = taken else {
        return Ok(0);
    };
    process(ctx, &event).await?;
    Ok(1)
}
