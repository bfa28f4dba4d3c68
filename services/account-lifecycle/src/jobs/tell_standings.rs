//! Sends changed standings to plan, billing and payments when they could not be sent at once.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::tell_standing;
use crate::store::roots::Stands;
use crate::store::{Tenant, roots};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let waiting = roots::to_tell(&mut tx, None, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(waiting)
    };
    let one = async |standing: &Stands| tell_standing::finish(ctx, standing).await;
    let queue = super::queue(ctx, "tell_standings");
    queue.work(ctx, due, one).await
}
