//! Renews subscriptions whose cycle starts, and retries failed renewals.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::renewal;
use crate::store::subscriptions::{self, Subscription};

/// Processes subscriptions that are due; returns how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut db = ctx.db.acquire().await?;
        Ok::<_, Error>(subscriptions::due(&mut db, now, limit).await?)
    };
    let one = async |known: &Subscription| renewal::go_on(ctx, known, now).await;
    super::queue(ctx, "renew").work(ctx, due, one).await
}
