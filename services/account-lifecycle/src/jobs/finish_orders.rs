//! Carries out committed orders, where `CommitOrder` was cut short.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::commit_order;
use crate::store::{self, Tenant, orders};

/// How many are looked at in one step.
const BATCH: i64 = 20;

/// Finishes what waits; gives how many were finished.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let waiting = orders::to_finish(&mut tx, BATCH).await?;
    tx.commit().await?;
    let mut finished = 0;
    for order in &waiting {
        // One that is refused has ended too, and must not stop the others.
        match commit_order::finish(ctx, order, now).await {
            Ok(()) => finished += 1,
            Err(error) => {
                tracing::warn!(order.id = %order.order_id, error = %chassis::Chain(&error), "finishing an order failed");
            }
        }
    }
    Ok(finished)
}
