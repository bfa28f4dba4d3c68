//! Destroys what was kept of deleted accounts once the law asks for it no more (D24).

use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::retained;

/// How many keys are destroyed in one step.
const BATCH: i64 = 100;

/// Destroys keys whose time is over; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let gone = retained::destroy(&mut tx, now, BATCH).await?;
    tx.commit().await?;
    for root in &gone {
        tracing::info!(account.id = %AccountId::from_uuid(*root), "the recipients of its invoices are destroyed");
    }
    Ok(gone.len())
}
