//! Finishes committed orders whose `CommitOrder` was cut short or whose payment is undecided.

use chassis::Clock;
use futures::future::join_all;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::commit_order;
use crate::store::{Tenant, orders};

/// Orders processed per step.
const BATCH: i64 = 20;

/// Processes the orders that are due; always returns 0, so that the job sleeps before the next step.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    // With a test clock, payments are polled without backoff.
    let often = matches!(ctx.clock, Clock::Standing { .. });
    let waiting = orders::take_to_finish(&mut tx, BATCH, often).await?;
    tx.commit().await?;
    let finish = waiting
        .iter()
        .map(|it| chassis::traced("finish_orders", commit_order::finish(ctx, it, now)));
    let finished = join_all(finish).await;
    for (done, order) in finished.into_iter().zip(&waiting) {
        // A refused order has ended too. One failure must not stop the others.
        if let Err(error) = done {
            tracing::warn!(order.id = %order.order_id, error = %chassis::Chain(&error), "an order could not be finished; it will be retried unless it was refused");
        }
    }
    // Orders that wait for a payment are polled again after the pause.
    Ok(0)
}
