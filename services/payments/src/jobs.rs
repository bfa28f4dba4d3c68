//! The work that the clock starts: one file for each job, one `step` in each.
//!
//! A `step` is called again and again, at once while it finds work, else after a pause. It may be
//! run twice or killed anywhere.

pub mod decide_sandbox;
pub mod erase_methods;
pub mod look_for_disputes;
pub mod look_up_movements;
pub mod process_webhooks;
pub mod tell_overdue;

use std::net::SocketAddr;
use std::time::Duration;

use chassis::Pace;
use chrono::{DateTime, NaiveTime, Utc};
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::store::{self, Tenant, enter, movements};
use crate::webhooks;

/// How long a job without work waits before it looks again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long what is looked for seldom waits.
const MINUTE: Duration = Duration::from_mins(1);

/// Runs the jobs until `stop`, and the port of webhooks where there is one.
pub async fn run(ctx: &Ctx, webhooks: Option<SocketAddr>, stop: &CancellationToken) {
    let often = Pace {
        pause: PAUSE,
        wake: &ctx.wake,
        stop,
    };
    let seldom = Pace {
        pause: MINUTE,
        ..often
    };
    tokio::join!(
        often.repeat("decide_sandbox", ctx, decide_sandbox::step),
        often.repeat("look_up_movements", ctx, look_up_movements::step),
        often.repeat("process_webhooks", ctx, process_webhooks::step),
        often.repeat("tell_overdue", ctx, tell_overdue::step),
        seldom.repeat("look_for_disputes", ctx, look_for_disputes::step),
        seldom.repeat("erase_methods", ctx, erase_methods::step),
        listen(ctx, webhooks, stop),
        chassis::keep_house(ctx, stop),
    );
}

async fn listen(ctx: &Ctx, address: Option<SocketAddr>, stop: &CancellationToken) {
    let Some(address) = address else {
        return;
    };
    if let Err(error) = webhooks::serve(ctx.clone(), address, stop.clone()).await {
        tracing::error!(%error, "the port of webhooks is closed");
        // Without it nobody would notice: restarted, it is tried again.
        stop.cancel();
    }
}

/// When there is work next, up to `until`.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> sqlx::Result<Option<DateTime<Utc>>> {
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    // Overdue from the day after the one that it was due on.
    let overdue = movements::next_overdue(&mut tx).await?;
    let overdue = overdue
        .and_then(|day| day.succ_opt())
        .map(|day| day.and_time(NaiveTime::MIN).and_utc())
        .filter(|at| *at <= until);
    let due = if movements::any_due(&mut tx).await? || store::webhooks::any_due(&mut tx).await? {
        Some(ctx.clock.now_on(&mut tx).await?)
    } else {
        store::sandbox::next_due(&mut tx, until).await?
    };
    tx.commit().await?;
    Ok(due.into_iter().chain(overdue).min())
}
