//! Begins the next month of what is rented: it is paid from the balance.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::rent;
use crate::store::rentals;

/// How many are looked at in one step.
const BATCH: i64 = 50;

/// Begins months that are due; gives how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = rentals::due(&mut *ctx.db.acquire().await?, now, BATCH).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let catalogue = ctx.active_catalogue().await?;
    for rental in &due {
        if let Err(error) = rent::go_on(ctx, &catalogue, rental, now).await {
            // One that goes wrong must not stop the others.
            tracing::warn!(rental.id = %rental.rental_id, error = %chassis::Chain(&error), "a rental does not go on");
            rentals::put_off(&mut *ctx.db.acquire().await?, rental.rental_id).await?;
        }
    }
    Ok(due.len())
}
