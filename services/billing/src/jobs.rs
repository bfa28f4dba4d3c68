//! Background jobs: one file per job, each with a `step`.
//!
//! A `step` is called repeatedly: at once while it finds work, and after a pause otherwise. It may run twice or be
//! killed at any point, so each piece of work is one transaction.

pub mod ask_payments;
pub mod charge_rentals;
pub mod destroy_keys;
pub mod dun;
pub mod expire_lots;
pub mod finish_runs;
pub mod follow_movements;
pub mod follow_timelines;
pub mod invoice_usage;
pub mod look_at_movements;
pub mod measure;
pub mod post_events;
pub mod recharge;
pub mod renew;
pub mod schedule_runs;
pub mod work_runs;

use std::time::Duration;

use chassis::{Clock, Pace, Queue};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::store;

/// How long a job without work waits before it looks again, where none looks for all; and one that failed.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a job without work waits under a test clock where nothing has woken it.
const STANDING_UNASKED: Duration = Duration::from_secs(2);
/// How long a job without work waits where nothing has woken it.
const UNASKED: Duration = Duration::from_mins(1);
/// How often it is looked for what other processes have left to do.
const LOOK: Duration = Duration::from_secs(1);
/// How long the schedule of runs waits before it looks again: it asks `plan` each time.
const SCHEDULE_PAUSE: Duration = Duration::from_secs(30);
/// Pause between two measurements.
const MEASURE_PAUSE: Duration = Duration::from_secs(30);
/// An instant in the past: work is due now.
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Pieces of work that a job processes concurrently.
const SIDE_BY_SIDE: usize = 32;

/// The queue settings of a job.
fn queue(ctx: &Ctx, job: &'static str) -> Queue {
    Queue {
        job,
        side_by_side: SIDE_BY_SIDE,
        // A piece of work calls other services, with retries, so its lease is longer.
        lease_seconds: 2 * i64::from(ctx.work.lease_seconds),
    }
}

/// Runs the jobs until `stop`, with `workers` concurrent workers on billing runs.
pub async fn run(ctx: &Ctx, workers: usize, stop: &CancellationToken) {
    let ctx = &ctx.until(stop);
    // A test clock is moved from outside, at any instant.
    let standing = matches!(ctx.clock, Clock::Standing { .. });
    let due = Notify::new();
    let often = Pace {
        pause: if standing { STANDING_UNASKED } else { UNASKED },
        retry: PAUSE,
        wake: &due,
        stop,
    };
    let following = Pace {
        pause: PAUSE,
        ..often
    };
    let quiet = Notify::new();
    let seldom = Pace {
        // A test clock stands until it has looked.
        pause: if standing { PAUSE } else { SCHEDULE_PAUSE },
        retry: if standing { PAUSE } else { SCHEDULE_PAUSE },
        wake: &quiet,
        stop,
    };
    let looking = Pace {
        pause: if standing { PAUSE } else { LOOK },
        ..often
    };
    let told = (&*ctx.wake, ctx.db.committed());
    let measuring = Pace {
        pause: MEASURE_PAUSE,
        ..seldom
    };
    let worker = |_| often.repeat("work_runs", ctx, work_runs::step);
    tokio::join!(
        looking.look_out(ctx, told, due_in),
        join_all((0..workers).map(worker)),
        often.repeat("finish_runs", ctx, finish_runs::step),
        often.repeat("expire_lots", ctx, expire_lots::step),
        following.repeat("follow_movements", ctx, follow_movements::step),
        often.repeat("post_events", ctx, post_events::step),
        often.repeat("look_at_movements", ctx, look_at_movements::step),
        often.repeat("ask_payments", ctx, ask_payments::step),
        often.repeat("recharge", ctx, recharge::step),
        following.repeat("follow_timelines", ctx, follow_timelines::step),
        often.repeat("retry_timelines", ctx, follow_timelines::again),
        often.repeat("renew", ctx, renew::step),
        often.repeat("destroy_keys", ctx, destroy_keys::step),
        often.repeat("charge_rentals", ctx, charge_rentals::step),
        often.repeat("dun", ctx, dun::step),
        often.repeat("invoice_usage", ctx, invoice_usage::step),
        seldom.repeat("schedule_runs", ctx, schedule_runs::step),
        measuring.repeat("measure", ctx, measure::step),
        chassis::keep_house(ctx, stop),
    );
}

/// How long it is until one of the jobs has work, as one statement tells for all.
async fn due_in(ctx: &Ctx) -> sqlx::Result<Option<Duration>> {
    let now = ctx.clock.now().await?;
    let due = store::due::next(&mut ctx.db.acquire().await?, now, now + LOOK).await?;
    Ok(due.map(|at| (at - now).to_std().unwrap_or_default()))
}

/// When there is work next, up to `until`: a run that is under way is due now, and so is what others have told and
/// was not taken notice of yet, and what is not known.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> sqlx::Result<Option<DateTime<Utc>>> {
    let mut db = ctx.db.acquire().await?;
    if store::runs::any_running(&mut db).await? || store::collections::any_to_ask(&mut db).await? {
        return Ok(Some(NOW));
    }
    let due = [
        expire_lots::next_due(&mut db, until).await?,
        store::auto_recharges::next_due(&mut db, until).await?,
        store::refunds::next_due(&mut db, until).await?,
        store::subscriptions::next_due(&mut db, until).await?,
        store::retained::next_due(&mut db, until).await?,
        store::rentals::next_due(&mut db, until).await?,
        store::dunnings::next_due(&mut db, until).await?,
        store::usage_bills::next_due(&mut db, until).await?,
    ];
    drop(db);
    let scheduled = schedule_runs::next_due(ctx, until).await;
    if follow_movements::any_due(ctx).await.unwrap_or(true)
        || follow_timelines::any_due(ctx).await.unwrap_or(true)
    {
        return Ok(Some(NOW));
    }
    let scheduled = scheduled.unwrap_or(Some(NOW));
    Ok(due.into_iter().chain([scheduled]).flatten().min())
}
