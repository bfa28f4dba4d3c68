//! Background jobs: one file per job, with one `step` each.
//!
//! A `step` is repeated, immediately while it finds work and after a pause otherwise. It may run concurrently in
//! several processes and be killed at any point.

pub mod decide_sandbox;
pub mod erase_methods;
pub mod look_for_disputes;
pub mod look_up_movements;
pub mod measure;
pub mod process_webhooks;
pub mod tell_overdue;

use std::net::SocketAddr;
use std::time::Duration;

use chassis::{Clock, Pace};
use chrono::{DateTime, NaiveTime, Utc};
use futures::future::join_all;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ctx::Ctx;
use crate::store::{self, Tenant, movements};
use crate::webhooks;

/// How long a job without work waits before it looks again, where none looks for all; and one that failed.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a job without work waits under a test clock where nothing has woken it.
const STANDING_UNASKED: Duration = Duration::from_secs(2);
/// How long a job without work waits where nothing has woken it.
const UNASKED: Duration = Duration::from_mins(1);
/// How often it is looked for what other processes have left to do.
const LOOK: Duration = Duration::from_secs(1);
/// How long what is looked for seldom waits.
const MINUTE: Duration = Duration::from_mins(1);

/// Runs the jobs until `stop`, and the webhook port if one is configured.
pub async fn run(ctx: &Ctx, webhooks: Option<SocketAddr>, stop: &CancellationToken) {
    // A test clock is moved from outside, at any instant.
    let standing = matches!(ctx.clock, Clock::Standing { .. });
    let due = Notify::new();
    let often = Pace {
        pause: if standing { STANDING_UNASKED } else { UNASKED },
        retry: PAUSE,
        wake: &due,
        stop,
    };
    let quiet = Notify::new();
    // What is due for others is nothing for these.
    let seldom = Pace {
        pause: MINUTE,
        retry: MINUTE,
        wake: if standing { &ctx.wake } else { &quiet },
        stop,
    };
    let looking = Pace {
        pause: if standing { PAUSE } else { LOOK },
        ..often
    };
    let told = (&*ctx.wake, ctx.db.committed());
    let measuring = Pace {
        wake: &quiet,
        ..seldom
    };
    let look_up = |provider: &'static str| async move {
        let step = async move |ctx: &Ctx| look_up_movements::step(ctx, provider).await;
        often.repeat("look_up_movements", ctx, step).await;
    };
    tokio::join!(
        looking.look_out(ctx, told, due_in),
        often.repeat("decide_sandbox", ctx, decide_sandbox::step),
        join_all(ctx.provider_codes().map(look_up)),
        often.repeat("process_webhooks", ctx, process_webhooks::step),
        often.repeat("tell_overdue", ctx, tell_overdue::step),
        seldom.repeat("look_for_disputes", ctx, look_for_disputes::step),
        seldom.repeat("erase_methods", ctx, erase_methods::step),
        measuring.repeat("measure", ctx, measure::step),
        listen(ctx, webhooks, stop),
        chassis::keep_house(ctx, stop),
    );
}

/// How long it is until one of the jobs has work, as one statement tells for all. While a provider can't be reached it is
/// always soon: how it stands is known by its look-ups only.
async fn due_in(ctx: &Ctx) -> sqlx::Result<Option<Duration>> {
    if !ctx.unreachable().is_empty() {
        return Ok(Some(Duration::ZERO));
    }
    let now = ctx.clock.now().await?;
    let providers: Vec<String> = ctx.provider_codes().map(str::to_owned).collect();
    let mut db = ctx.db.acquire().await?;
    let due = movements::next_work(&mut db, (now, now + LOOK), &providers).await?;
    Ok(due.map(|at| (at - now).to_std().unwrap_or_default()))
}

async fn listen(ctx: &Ctx, address: Option<SocketAddr>, stop: &CancellationToken) {
    let Some(address) = address else {
        return;
    };
    if let Err(error) = webhooks::serve(ctx.clone(), address, stop.clone()).await {
        tracing::error!(%error, "the webhook port has failed; the service stops to be restarted");
        // Stopped so that the failure is noticed; a restart opens the port again.
        stop.cancel();
    }
}

/// When work is due next, up to `until`.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> sqlx::Result<Option<DateTime<Utc>>> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    // A refund is overdue from the day after its due date.
    let overdue = movements::next_overdue(&mut tx).await?;
    let overdue = overdue
        .and_then(|day| day.succ_opt())
        .map(|day| day.and_time(NaiveTime::MIN).and_utc())
        .filter(|at| *at <= until);
    let unreachable = ctx.unreachable();
    let due = if movements::any_due(&mut tx, &unreachable).await?
        || store::webhooks::any_due(&mut tx).await?
    {
        Some(ctx.clock.now_on(&mut tx).await?)
    } else {
        store::sandbox::next_due(&mut tx, until).await?
    };
    tx.commit().await?;
    Ok(due.into_iter().chain(overdue).min())
}
