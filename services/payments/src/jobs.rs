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

use chrono::{DateTime, NaiveTime, Utc};

use crate::ctx::Ctx;
use crate::store::{self, Tenant, enter, movements};

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
