//! Renews subscriptions whose cycle begins, and tries again those that could not be paid.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::renewal;
use crate::store::subscriptions;

/// Goes on with one subscription that is due; gives how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let Some(known) = subscriptions::due(&mut db, now).await? else {
        return Ok(0);
    };
    drop(db);
    match renewal::go_on(ctx, &known, now).await {
        Ok(()) => {}
        // Another service is away: nothing else could be renewed either.
        Err(Error::Peer(status)) if chassis::is_away(&status) => return Err(Error::Peer(status)),
        Err(error) => {
            tracing::error!(account.id = %known.root_id, error = %chassis::Chain(&error), "a renewal failed");
            renewal::put_off(ctx, &known, now).await?;
        }
    }
    Ok(1)
}
