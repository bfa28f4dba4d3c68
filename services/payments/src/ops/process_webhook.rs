//! Processing of webhook events: each is a hint, and the movement or dispute concerned is looked up.

use uuid::Uuid;

use super::look_up::{self, Looked};
use super::take_dispute::{self, Taken};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::Tenant;
use crate::store::movements::{self, Movement};
use crate::store::webhooks::{self, Event, Processed};

/// Maximum of seconds until a failed event is retried.
const WAIT_MAX: i32 = 3_600;

/// What processing an event did to the movement or dispute that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It took over what the provider's book says, or noted that the book contradicts its final state.
    Changed,
    /// It was up to date.
    Unchanged,
    /// It is not ours.
    Ignored,
    /// The provider's book could not be read.
    Unavailable,
}

/// Looks up anew the movement that an event is about, and notes what came of it, whatever came of it before.
pub async fn process_anew(ctx: &Ctx, event: &Event) -> Result<Effect, Error> {
    process(ctx, std::slice::from_ref(event), true).await
}

/// Looks up once what events of one subject are about, and notes what came of it of all that still wait.
pub async fn process_all(ctx: &Ctx, events: &[Event]) -> Result<(), Error> {
    process(ctx, events, false).await?;
    Ok(())
}

async fn process(ctx: &Ctx, events: &[Event], anew: bool) -> Result<Effect, Error> {
    let Some(event) = events.last() else {
        return Ok(Effect::Unchanged);
    };
    let dispute = ["charge.dispute.", "payment.dispute."]
        .iter()
        .any(|kind| event.event_type.starts_with(kind));
    let (found, effect) = if dispute {
        contested(ctx, event).await?
    } else {
        moved(ctx, event).await?
    };
    let now = ctx.clock.now().await?;
    let ids: Vec<Uuid> = events.iter().map(|it| it.webhook_event_id).collect();
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    webhooks::processed(&mut tx, (&ids, anew), &found, now).await?;
    tx.commit().await?;
    Ok(effect)
}

/// Outcome for an event of another system that shares the provider account.
const NOT_OURS: Processed<'static> = Processed {
    state: "IGNORED",
    movement_id: None,
    failure_reason: "NOT_OURS",
    wait_seconds: 0,
};

/// The outcome after a look-up; if the book could not be read, the event is retried with growing pauses.
fn looked_up(event: &Event, movement_id: Option<Uuid>, read: bool) -> Processed<'static> {
    let tries = u32::try_from(event.attempt_count.clamp(0, 10)).unwrap_or(0);
    Processed {
        state: if read { "PROCESSED" } else { "FAILED" },
        movement_id,
        failure_reason: if read { "" } else { "LOOK_UP_FAILED" },
        wait_seconds: (5 * 2_i32.pow(tries)).min(WAIT_MAX),
    }
}

/// Handles an event about a charge or a refund.
async fn moved(ctx: &Ctx, event: &Event) -> Result<(Processed<'static>, Effect), Error> {
    let Some(it) = movement(ctx, event).await? else {
        return Ok((NOT_OURS, Effect::Ignored));
    };
    let looked = look_up::look_up(ctx, &it, &event.object_id).await;
    if let Err(error) = &looked {
        tracing::warn!(webhook.id = %event.webhook_event_id, error = %chassis::Chain(error), "the movement of a webhook event could not be looked up; it will be retried");
    }
    let effect = match looked {
        Ok(Looked::Sent | Looked::Read { changed: true }) => Effect::Changed,
        Ok(Looked::Read { changed: false }) => Effect::Unchanged,
        Ok(Looked::Unread) | Err(_) => Effect::Unavailable,
    };
    let read = effect != Effect::Unavailable;
    Ok((looked_up(event, Some(it.movement_id), read), effect))
}

/// Handles an event about a dispute.
async fn contested(ctx: &Ctx, event: &Event) -> Result<(Processed<'static>, Effect), Error> {
    let taken = take_dispute::take(ctx, &event.provider_code, &event.object_id).await?;
    Ok(match taken {
        Taken::Known { charge, changed } => {
            let effect = if changed {
                Effect::Changed
            } else {
                Effect::Unchanged
            };
            (looked_up(event, Some(charge), true), effect)
        }
        Taken::NotOurs => (NOT_OURS, Effect::Ignored),
        Taken::Unavailable => (looked_up(event, None, false), Effect::Unavailable),
    })
}

/// The movement of an event, found by our reference or by the provider's ids.
async fn movement(ctx: &Ctx, event: &Event) -> Result<Option<Movement>, Error> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let reference = Uuid::try_parse(&event.reference).ok();
    let ids = [event.object_id.clone(), event.parent_id.clone()];
    let found = movements::of_provider(&mut tx, &event.provider_code, reference, &ids).await?;
    tx.commit().await?;
    Ok(found)
}
