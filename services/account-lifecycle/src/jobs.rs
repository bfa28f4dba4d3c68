//! The work that the clock starts: sagas whose RPC was cut short.

pub mod erase_accounts;
pub mod finish_closings;
pub mod finish_orders;
pub mod follow_balances;
pub mod follow_timelines;
pub mod give_back;
pub mod limit_accounts;
pub mod open_accounts;
pub mod release_numbers;
pub mod send_notifications;
pub mod tell_billing_details;
pub mod warn_owners;

use std::time::Duration;

use chassis::Pace;
use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;
use values::CollectionId;

use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::ops::commit_order;
use crate::store::{
    self, Tenant, accounts, billing_details, closings, notifications, orders, resources,
};

/// How long a job without work waits before it looks again.
const PAUSE: Duration = Duration::from_secs(1);
/// Work that is due now.
const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
/// How many waiting orders a test clock looks at.
const WAITING_MAX: i64 = 100;

/// Runs the jobs until `stop`.
pub async fn run(ctx: &Ctx, stop: &CancellationToken) {
    let often = Pace {
        pause: PAUSE,
        wake: &ctx.wake,
        stop,
    };
    tokio::join!(
        often.repeat("open_accounts", ctx, open_accounts::step),
        often.repeat("finish_orders", ctx, finish_orders::step),
        often.repeat("tell_billing_details", ctx, tell_billing_details::step),
        often.repeat("follow_timelines", ctx, follow_timelines::step),
        often.repeat("limit_accounts", ctx, limit_accounts::step),
        often.repeat("follow_balances", ctx, follow_balances::step),
        often.repeat("finish_closings", ctx, finish_closings::step),
        often.repeat("send_notifications", ctx, send_notifications::step),
        often.repeat("erase_accounts", ctx, erase_accounts::step),
        often.repeat("give_back", ctx, give_back::step),
        often.repeat("release_numbers", ctx, release_numbers::step),
        often.repeat("warn_owners", ctx, warn_owners::step),
        chassis::keep_house(ctx, stop),
    );
}

/// Whether a saga is under way that can go on now: an order that waits for its payment can when the
/// payment is decided.
async fn any_due(ctx: &Ctx) -> sqlx::Result<bool> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let any = !accounts::to_open(&mut tx, 1).await?.is_empty()
        || !billing_details::to_tell(&mut tx, 1).await?.is_empty()
        || closings::any_under_way(&mut tx).await?
        || !resources::to_give_back(&mut tx, 1).await?.is_empty()
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
        let standing = asked.map(|collection| commit_order::standing(&collection));
        if matches!(standing, Ok(State::Completed | State::Failed)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// When there is work next, up to `until`: a saga that is under way is due now, and so is what others have told and
/// was not taken notice of yet, and what is not known.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> sqlx::Result<Option<DateTime<Utc>>> {
    if any_due(ctx).await?
        || follow_timelines::any_due(ctx).await.unwrap_or(true)
        || follow_balances::any_due(ctx).await.unwrap_or(true)
    {
        return Ok(Some(NOW));
    }
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let limit = accounts::next_limit(&mut tx, until).await?;
    let erasure = closings::next_erasure(&mut tx, until).await?;
    let release = accounts::next_release(&mut tx, until).await?;
    let warning = accounts::next_warning(&mut tx, now, until).await?;
    tx.commit().await?;
    let due = [limit, erasure, release, warning];
    Ok(due.into_iter().flatten().min())
}
