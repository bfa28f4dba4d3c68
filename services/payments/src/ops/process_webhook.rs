//! What a webhook hints at, looked up.

use uuid::Uuid;

use super::look_up;
use super::take_dispute::{self, Taken};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::movements::{self, Movement};
use crate::store::webhooks::{self, Event, Processed};
use crate::store::{Tenant, enter};

/// The most seconds until a failed event is tried again.
const WAIT_MAX: i32 = 3_600;

/// Looks up the movement that an event is about, and notes what came of it.
pub async fn process(ctx: &Ctx, event: &Event) -> Result<(), Error> {
    let dispute = ["charge.dispute.", "payment.dispute."]
        .iter()
        .any(|kind| event.event_type.starts_with(kind));
    let found = if dispute {
        contested(ctx, event).await?
    } else {
        moved(ctx, event).await?
    };
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    webhooks::processed(&mut db, event.webhook_event_id, &found, now).await?;
    Ok(())
}

/// Of no concern: another system shares the provider's account.
const NOT_OURS: Processed<'static> = Processed {
    state: "IGNORED",
    movement_id: None,
    failure_reason: "NOT_OURS",
    wait_seconds: 0,
};

/// What came of looking something up: it is tried again, ever later, where the book could not be read.
fn looked_up(event: &Event, movement_id: Option<Uuid>, read: bool) -> Processed<'static> {
    let tries = u32::try_from(event.attempt_count.clamp(0, 10)).unwrap_or(0);
    Processed {
        state: if read { "PROCESSED" } else { "FAILED" },
        movement_id,
        failure_reason: if read { "" } else { "LOOK_UP_FAILED" },
        wait_seconds: (5 * 2_i32.pow(tries)).min(WAIT_MAX),
    }
}

/// A charge or a refund may have changed.
async fn moved(ctx: &Ctx, event: &Event) -> Result<Processed<'static>, Error> {
    let Some(it) = movement(ctx, event).await? else {
        return Ok(NOT_OURS);
    };
    let looked = look_up::look_up(ctx, &it, &event.object_id).await;
    if let Err(error) = &looked {
        tracing::warn!(webhook.id = %event.webhook_event_id, error = %chassis::Chain(error), "a webhook's movement was not looked up");
    }
    Ok(looked_up(
        event,
        Some(it.movement_id),
        matches!(looked, Ok(true)),
    ))
}

/// A dispute may have changed.
async fn contested(ctx: &Ctx, event: &Event) -> Result<Processed<'static>, Error> {
    let taken = take_dispute::take(ctx, &event.provider_code, &event.object_id).await?;
    Ok(match taken {
        Taken::Known(charge) => looked_up(event, Some(charge), true),
        Taken::NotOurs => NOT_OURS,
        Taken::Unavailable => looked_up(event, None, false),
    })
}

/// The movement that an event is about: by our reference, or by the provider's ids.
async fn movement(ctx: &Ctx, event: &Event) -> Result<Option<Movement>, Error> {
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let reference = Uuid::try_parse(&event.reference).ok();
    let ids = [event.object_id.clone(), event.parent_id.clone()];
    let found = movements::of_provider(&mut tx, &event.provider_code, reference, &ids).await?;
    tx.commit().await?;
    Ok(found)
}
