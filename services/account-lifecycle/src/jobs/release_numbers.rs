//! Releases the numbers of accounts without a paid plan or with an empty balance once the hold has ended.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::hold;
use crate::store::{Tenant, accounts};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = accounts::to_release(&mut tx, now, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |root: &Uuid| hold::release(ctx, *root, now).await;
    super::queue(ctx, "release_numbers")
        .work(ctx, due, one)
        .await
}
