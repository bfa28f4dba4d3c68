//! Tells billing and payments of changed billing details, where `UpdateBillingDetails` was cut short.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::tell_details;
use crate::store::{self, Tenant, billing_details};

/// How many are looked at in one step.
const BATCH: i64 = 20;

/// Tells what was not told; gives how many were.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let waiting = billing_details::to_tell(&mut tx, BATCH).await?;
    tx.commit().await?;
    let mut told = 0;
    for details in &waiting {
        // One that is refused must not stop the others.
        match tell_details::finish(ctx, details).await {
            Ok(()) => told += 1,
            Err(error) => {
                tracing::warn!(account.id = %details.root_id, error = %chassis::Chain(&error), "telling billing details failed");
            }
        }
    }
    Ok(told)
}
