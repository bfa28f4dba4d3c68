//! What a webhook hints at, looked up.

use uuid::Uuid;

use super::look_up;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::movements::{self, Movement};
use crate::store::webhooks::{self, Event, Processed};
use crate::store::{Tenant, enter};

/// The most seconds until a failed event is tried again.
const WAIT_MAX: i32 = 3_600;

/// Looks up the movement that an event is about, and notes what came of it.
pub async fn process(ctx: &Ctx, event: &Event) -> Result<(), Error> {
    let found = match movement(ctx, event).await? {
        None => Processed {
            state: "IGNORED",
            movement_id: None,
            failure_reason: "NOT_OURS",
            wait_seconds: 0,
        },
        Some(it) => {
            let looked = look_up::look_up(ctx, &it, &event.object_id).await;
            let failed = !matches!(looked, Ok(true));
            if let Err(error) = &looked {
                tracing::warn!(webhook.id = %event.webhook_event_id, error = %chassis::Chain(error), "a webhook's movement was not looked up");
            }
            let tries = u32::try_from(event.attempt_count.clamp(0, 10)).unwrap_or(0);
            Processed {
                state: if failed { "FAILED" } else { "PROCESSED" },
                movement_id: Some(it.movement_id),
                failure_reason: if failed { "LOOK_UP_FAILED" } else { "" },
                wait_seconds: (5 * 2_i32.pow(tries)).min(WAIT_MAX),
            }
        }
    };
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    webhooks::processed(&mut db, event.webhook_event_id, &found, now).await?;
    Ok(())
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
