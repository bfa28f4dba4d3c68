//! Background jobs: sagas whose RPC was cut short, and work that is due at a time.

pub mod erase_accounts;
pub mod erase_payout_details;
pub mod expire_email_changes;
pub mod expire_recordings;
pub mod finish_closings;
pub mod finish_orders;
pub mod finish_soft_closes;
pub mod follow_balances;
pub mod follow_timelines;
pub mod give_back;
pub mod limit_accounts;
pub mod open_accounts;
pub mod release_numbers;
pub mod send_notifications;
pub mod tell_billing_details;
pub mod tell_standings;
pub mod warn_owners;

use std::time::Duration;

use chassis::{Clock, Pace, Queue};
use chrono::{DateTime, Utc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use values::CollectionId;

use crate::ctx::Ctx;
use crate::domain::order::Event;
use crate::ops::commit_order;
use crate::store::{
    Tenant, accounts, billing_details, closings, email_changes, notifications, orders, recordings,
    resources, roots,
};

/// How long a job without work waits before it looks again, or one statement for all; and one that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the one look waits where a test clock may be moved meanwhile.
const STANDING_PAUSE: Duration = Duration::from_millis(250);
/// How long a job without work waits under a test clock where nothing has woken it.
const STANDING_UNASKED: Duration = Duration::from_secs(2);
/// How long a job without work waits where nothing has woken it.
const UNASKED: Duration = Duration::from_mins(1);
/// Work that is due now.
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
/// Items that a job processes concurrently.
const SIDE_BY_SIDE: usize = 32;
/// Committed orders that the test clock inspects.
const WAITING_MAX: i64 = 100;

/// The work queue of a job.
fn queue(ctx: &Ctx, job: &'static str) -> Queue {
    Queue {
        job,
        side_by_side: SIDE_BY_SIDE,
        lease_seconds: ctx.lease_seconds,
    }
}

/// Runs the jobs until `stop`.
pub async fn run(ctx: &Ctx, stop: &CancellationToken) {
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
    // What an RPC has begun it goes on with itself: no job begins with it when it is written, but where it says so.
    let unwritten = Notify::new();
    let told = (&*ctx.wake, &unwritten);
    let looking = Pace {
        pause: if standing { STANDING_PAUSE } else { PAUSE },
        ..often
    };
    tokio::join!(
        looking.look_out(ctx, told, due_in),
        often.repeat("open_accounts", ctx, open_accounts::step),
        often.repeat("finish_orders", ctx, finish_orders::step),
        often.repeat("tell_billing_details", ctx, tell_billing_details::step),
        often.repeat("tell_standings", ctx, tell_standings::step),
        following.repeat("follow_timelines", ctx, follow_timelines::step),
        often.repeat("limit_accounts", ctx, limit_accounts::step),
        following.repeat("follow_balances", ctx, follow_balances::step),
        often.repeat("retry_timelines", ctx, follow_timelines::again),
        often.repeat("retry_balances", ctx, follow_balances::again),
        often.repeat("finish_closings", ctx, finish_closings::step),
        often.repeat("finish_soft_closes", ctx, finish_soft_closes::step),
        often.repeat("send_notifications", ctx, send_notifications::step),
        often.repeat("erase_accounts", ctx, erase_accounts::step),
        often.repeat("erase_payout_details", ctx, erase_payout_details::step),
        often.repeat("give_back", ctx, give_back::step),
        often.repeat("release_numbers", ctx, release_numbers::step),
        often.repeat("expire_recordings", ctx, expire_recordings::step),
        often.repeat("expire_email_changes", ctx, expire_email_changes::step),
        often.repeat("warn_owners", ctx, warn_owners::step),
        chassis::keep_house(ctx, stop),
    );
}

/// How long it is until one of the jobs has work, as one statement tells for all.
async fn due_in(ctx: &Ctx) -> sqlx::Result<Option<Duration>> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let due = accounts::next_work(&mut db, (now, now + PAUSE), ctx.mailer.is_some()).await?;
    Ok(due.map(|at| (at - now).to_std().unwrap_or_default()))
}

/// Whether a saga is under way that can go on now: an order that waits for its payment can when the
/// payment is decided.
async fn any_due(ctx: &Ctx) -> sqlx::Result<bool> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let any = accounts::any_to_open(&mut tx).await?
        || billing_details::any_to_tell(&mut tx).await?
        || !roots::to_tell(&mut tx, None, 1).await?.is_empty()
        || closings::any_under_way(&mut tx).await?
        || accounts::any_to_end(&mut tx).await?
        || resources::any_to_give_back(&mut tx).await?
        || ctx.mailer.is_some() && notifications::any_due(&mut tx).await?;
    let waiting = orders::unfinished(&mut tx, WAITING_MAX).await?;
    tx.commit().await?;
    if any {
        return Ok(true);
    }
    for order in waiting {
        let Some(id) = order.collection_id else {
            return Ok(true);
        };
        let asked = ctx.collection(CollectionId::from_uuid(id)).await;
        let event = asked.map(|collection| commit_order::payment_event(&collection));
        if matches!(event, Ok(Event::Fulfilled | Event::Refused)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When work is due next, up to `until`. Sagas in progress and unread changes of other services are due now; so is
/// anything whose state can't be determined.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> sqlx::Result<Option<DateTime<Utc>>> {
    if any_due(ctx).await?
        || follow_timelines::any_due(ctx).await.unwrap_or(true)
        || follow_balances::any_due(ctx).await.unwrap_or(true)
    {
        return Ok(Some(NOW));
    }
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let limit = accounts::next_limit(&mut tx, until).await?;
    let erasure = closings::next_erasure(&mut tx, until).await?;
    let release = accounts::next_release(&mut tx, until).await?;
    let recording = recordings::next_look(&mut tx, until).await?;
    let expiry = email_changes::next_expiry(&mut tx, until).await?;
    let warning = accounts::next_warning(&mut tx, now, until).await?;
    tx.commit().await?;
    let due = [limit, erasure, release, recording, expiry, warning];
    Ok(due.into_iter().flatten().min())
}
