//! Puts what accounts that pay by invoice owe for usage and rentals on an open invoice, with the start of each month.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::bill_usage;
use crate::store::usage_bills;

/// How many are looked at in one step.
const BATCH: i64 = 100;

/// Invoices what is owed where a month has ended; gives how many accounts it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = usage_bills::due(&mut *ctx.db.acquire().await?, now, BATCH).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let catalogue = ctx.active_catalogue().await?;
    for root in &due {
        if let Err(error) = bill_usage::go_on(ctx, &catalogue, *root, now).await {
            // One that goes wrong must not stop the others.
            tracing::error!(account.id = %root, error = %chassis::Chain(&error), "usage is not invoiced");
            usage_bills::put_off(&mut *ctx.db.acquire().await?, *root).await?;
        }
    }
    ctx.wake.notify_waiters();
    Ok(due.len())
}
