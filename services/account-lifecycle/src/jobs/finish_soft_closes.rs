//! Ends what a dormant account still has going on, where its soft close was cut short.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::soft_close;
use crate::store::{Tenant, accounts};

/// Finishes what was cut short; gives how many were looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = accounts::to_end(&mut tx, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |root: &Uuid| soft_close::finish(ctx, *root).await;
    super::queue(ctx, "finish_soft_closes")
        .work(ctx, due, one)
        .await
}
