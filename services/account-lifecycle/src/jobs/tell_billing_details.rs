//! Sends changed billing details to billing and payments when `UpdateBillingDetails` was cut short.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::tell_details;
use crate::store::{Tenant, billing_details};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = billing_details::to_tell(&mut tx, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |root: &Uuid| tell_details::finish(ctx, *root).await;
    let queue = super::queue(ctx, "tell_billing_details");
    queue.work(ctx, due, one).await
}
