//! Ends runs whose shards are all done.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{outbox, runs};

/// Ends one run, or lets it wait for approval; gives how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let Some(run) = runs::lock_finished(&mut tx).await? else {
        return Ok(0);
    };
    if run.phase == "RATE" && !run.dry_run {
        runs::set_state(&mut tx, run.run_id, "AWAITING_APPROVAL", None).await?;
    } else {
        runs::set_state(&mut tx, run.run_id, "COMPLETED", Some(now)).await?;
        outbox::run_completed(&mut tx, run.run_id, now).await?;
    }
    tx.commit().await?;
    ctx.wake.notify_waiters(); // Whoever watches it.
    tracing::info!(run.id = %run.run_id, run.phase, "every shard of a run is done");
    Ok(1)
}
