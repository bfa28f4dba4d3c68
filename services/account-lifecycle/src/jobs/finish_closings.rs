//! Carries out closings, where `CloseAccount` was cut short.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::close;
use crate::store::{self, Tenant, closings};

/// How many are looked at in one step.
const BATCH: i64 = 20;

/// Finishes what was cut short; gives how many were finished.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let waiting = closings::take_to_finish(&mut tx, BATCH).await?;
    tx.commit().await?;
    let mut finished = 0;
    for closing in &waiting {
        // One that another service refuses must not stop the others.
        match close::finish(ctx, closing, now).await {
            Ok(()) => finished += 1,
            Err(error) => {
                tracing::warn!(account.id = %closing.account_id, error = %chassis::Chain(&error), "closing an account failed");
            }
        }
    }
    Ok(finished)
}
