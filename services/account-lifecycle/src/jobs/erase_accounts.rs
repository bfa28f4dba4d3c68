//! Deletes the data of closed accounts once their retention has ended (REQ-047).

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::erase;
use crate::store::{Tenant, closings};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = closings::to_erase(&mut tx, now, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |account: &Uuid| erase::all(ctx, *account).await;
    super::queue(ctx, "erase_accounts")
        .work(ctx, due, one)
        .await
}
