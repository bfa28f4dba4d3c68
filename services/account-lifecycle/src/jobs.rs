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

use chrono::{DateTime, Utc};
use values::CollectionId;

use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::ops::commit_order;
use crate::store::{
    self, Tenant, accounts, billing_details, closings, notifications, orders, resources,
};

/// How many waiting orders a test clock looks at.
const WAITING_MAX: i64 = 100;

/// Whether a saga is under way that can go on now: an order that waits for its payment can when the
/// payment is decided.
pub async fn any_due(ctx: &Ctx) -> sqlx::Result<bool> {
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

/// When the next dated change of an account is due, up to `until`.
pub async fn next_due(ctx: &Ctx, until: DateTime<Utc>) -> sqlx::Result<Option<DateTime<Utc>>> {
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
