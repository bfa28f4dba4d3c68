//! Completes runs whose shards are all done.

use crate::ctx::Ctx;
use crate::domain::run::{Event, after};
use crate::error::Error;
use crate::store::{outbox, runs};

/// Completes one run, or moves it to awaiting approval; returns how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let Some(run) = runs::lock_finished(&mut tx).await? else {
        return Ok(0);
    };
    let waits = run.only_rates() && !run.dry_run;
    let event = if waits { Event::Rated } else { Event::Finished };
    let state = after(run.state, event).ok_or(Error::Stored("run"))?;
    runs::set_state(&mut tx, run.run_id, state, (!waits).then_some(now)).await?;
    if !waits {
        outbox::run_completed(&mut tx, run.run_id, now).await?;
        if !run.dry_run {
            runs::clear_overdue(&mut tx, &run.family_code, run.period_start).await?;
        }
    }
    tx.commit().await?;
    ctx.wake.notify_waiters(); // Wakes the streams that watch the run.
    let phase = run.phase.as_str();
    tracing::info!(run.id = %run.run_id, run.phase = phase, "all shards of a run are done");
    Ok(1)
}
