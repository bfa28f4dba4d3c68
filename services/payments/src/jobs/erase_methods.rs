//! Erases the payment methods of deleted accounts that were kept for a refund, once it has ended (REQ-070).

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, enter, methods};

/// Erases what no refund needs any more; gives of how many methods.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let erased = methods::erase_kept(&mut tx, now).await?;
    tx.commit().await?;
    Ok(erased)
}
