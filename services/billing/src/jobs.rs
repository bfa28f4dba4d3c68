//! The work that the clock starts: one file for each job, one `step` in each.
//!
//! A `step` is called again and again, at once while it finds work, else after a pause. It may be
//! run twice or killed anywhere: what it does for one chunk, it does in one transaction.

pub mod ask_payments;
pub mod charge_rentals;
pub mod destroy_keys;
pub mod dun;
pub mod expire_lots;
pub mod finish_runs;
pub mod follow_movements;
pub mod follow_timelines;
pub mod invoice_usage;
pub mod recharge;
pub mod renew;
pub mod work_runs;

use std::time::Duration;

use chassis::Pace;
use chrono::{DateTime, Utc};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::store;

/// How long a job without work waits before it looks again.
const PAUSE: Duration = Duration::from_millis(250);
/// Work that is due now.
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

/// Runs the jobs until `stop`; runs by so many `workers`.
pub async fn run(ctx: &Ctx, workers: usize, stop: &CancellationToken) {
    let often = Pace {
        pause: PAUSE,
        wake: &ctx.wake,
        stop,
    };
    let worker = |_| often.repeat("work_runs", ctx, work_runs::step);
    tokio::join!(
        join_all((0..workers).map(worker)),
        often.repeat("finish_runs", ctx, finish_runs::step),
        often.repeat("expire_lots", ctx, expire_lots::step),
        often.repeat("follow_movements", ctx, follow_movements::step),
        often.repeat("ask_payments", ctx, ask_payments::step),
        often.repeat("recharge", ctx, recharge::step),
        often.repeat("follow_timelines", ctx, follow_timelines::step),
        often.repeat("renew", ctx, renew::step),
        often.repeat("destroy_keys", ctx, destroy_keys::step),
        often.repeat("charge_rentals", ctx, charge_rentals::step),
        often.repeat("dun", ctx, dun::step),
        often.repeat("invoice_usage", ctx, invoice_usage::step),
        chassis::keep_house(ctx, stop),
    );
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
    if follow_movements::any_due(ctx).await.unwrap_or(true)
        || follow_timelines::any_due(ctx).await.unwrap_or(true)
    {
        return Ok(Some(NOW));
    }
    Ok(due.into_iter().flatten().min())
}
