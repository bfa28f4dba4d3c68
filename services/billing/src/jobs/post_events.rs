//! Retries quarantined payment events.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::post_event;
use crate::store::unposted_events;

/// Retries the event that is due longest; returns how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let taken = unposted_events::take(&mut ctx.db.acquire().await?).await?;
    let Some(event) = taken else {
        return Ok(0);
    };
    if let Err(error) = chassis::traced("post_events", post_event::again(ctx, &event)).await
        && !chassis::is_permanent(&error)
    {
        tracing::warn!(
            movement.id = event.subject_id,
            error = %chassis::Chain(&error),
            "retrying a quarantined payment event failed; it is retried later"
        );
    }
    Ok(1)
}
