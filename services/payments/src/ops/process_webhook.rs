//! Processing of webhook events: each is a hint, and the movement or dispute concerned is looked up.

use uuid::Uuid;

use super::look_up::{self, Looked};
use super::take_dispute::{self, Taken};
use crate::ctx::Ctx;
use crate::domain::webhook::{Outcome, Run, after};
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
    process(ctx, std::slice::from_ref(event), Run::Replay).await
}

/// Looks up once what events of one subject are about, and notes what came of it of all that still wait.
pub async fn process_all(ctx: &Ctx, events: &[Event]) -> Result<(), Error> {
    process(ctx, events, Run::Job).await?;
    Ok(())
}

async fn process(ctx: &Ctx, events: &[Event], run: Run) -> Result<Effect, Error> {
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
    let Some(change) = after(event.state, run, found.outcome) else {
        return Ok(effect);
    };
    let processed = Processed {
        change,
        movement_id: found.movement_id,
        wait_seconds: pause(event),
    };
    let now = ctx.clock.now().await?;
    let ids: Vec<Uuid> = events.iter().map(|it| it.webhook_event_id).collect();
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    webhooks::processed(&mut tx, &ids, run, &processed, now).await?;
    tx.commit().await?;
    Ok(effect)
}

/// What an event concerns, and what its processing came to.
struct Found {
    outcome: Outcome,
    movement_id: Option<Uuid>,
}

/// The finding for an event of another system that shares the provider account.
const NOT_OURS: Found = Found {
    outcome: Outcome::NotOurs,
    movement_id: None,
};

/// Seconds until an event is retried if the book could not be read; they grow with each attempt.
fn pause(event: &Event) -> i32 {
    let tries = u32::try_from(event.attempt_count.clamp(0, 10)).unwrap_or(0);
    (5 * 2_i32.pow(tries)).min(WAIT_MAX)
}

/// Handles an event about a charge or a refund.
async fn moved(ctx: &Ctx, event: &Event) -> Result<(Found, Effect), Error> {
    let Some(it) = movement(ctx, event).await? else {
        return Ok((NOT_OURS, Effect::Ignored));
    };
    let looked = look_up::look_up(ctx, &it, &event.object_id).await;
    if let Err(error) = &looked {
        tracing::warn!(webhook.id = %event.webhook_event_id, error = %chassis::Chain(error), "the movement of a webhook event could not be looked up; it will be retried");
    }
    let (outcome, effect) = match looked {
        Ok(Looked::Sent | Looked::Read { changed: true }) => (Outcome::LookedUp, Effect::Changed),
        Ok(Looked::Read { changed: false }) => (Outcome::LookedUp, Effect::Unchanged),
        Ok(Looked::Unread) | Err(_) => (Outcome::Unread, Effect::Unavailable),
    };
    let found = Found {
        outcome,
        movement_id: Some(it.movement_id),
    };
    Ok((found, effect))
}

/// Handles an event about a dispute.
async fn contested(ctx: &Ctx, event: &Event) -> Result<(Found, Effect), Error> {
    let taken = take_dispute::take(ctx, &event.provider_code, &event.object_id).await?;
    Ok(match taken {
        Taken::Known { charge, changed } => {
            let effect = if changed {
                Effect::Changed
            } else {
                Effect::Unchanged
            };
            let found = Found {
                outcome: Outcome::LookedUp,
                movement_id: Some(charge),
            };
            (found, effect)
        }
        Taken::NotOurs => (NOT_OURS, Effect::Ignored),
        Taken::Unavailable => {
            let found = Found {
                outcome: Outcome::Unread,
                movement_id: None,
            };
            (found, Effect::Unavailable)
        }
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
