//! Carries out committed orders, where `CommitOrder` was cut short or a payment is not decided.

use chassis::Clock;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::commit_order;
use crate::store::{self, Tenant, orders};

/// How many are looked at in one step.
const BATCH: i64 = 20;

/// Finishes what waits; gives nothing to do at once.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    // Where a test clock stands, nobody waits for a payment longer than it takes.
    let often = matches!(ctx.clock, Clock::Standing { .. });
    let waiting = orders::take_to_finish(&mut tx, BATCH, often).await?;
    tx.commit().await?;
    for order in &waiting {
        // One that is refused has ended too, and must not stop the others.
        match commit_order::finish(ctx, order, now).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(order.id = %order.order_id, error = %chassis::Chain(&error), "finishing an order failed");
            }
        }
    }
    // Those that wait for a payment are looked at after the pause.
    Ok(0)
}
