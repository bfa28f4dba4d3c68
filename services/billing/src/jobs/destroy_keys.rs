//! Destroys the retained data of deleted accounts after the legal retention period (D24).

use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::retained;

/// The most keys destroyed in one step.
const BATCH: i64 = 100;

/// Destroys keys whose retention has ended; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let gone = retained::destroy(&mut tx, now, BATCH).await?;
    tx.commit().await?;
    for root in &gone {
        tracing::info!(
            account.id = %AccountId::from_uuid(*root),
            "the retained invoice recipients of a deleted account are destroyed"
        );
    }
    Ok(gone.len())
}
