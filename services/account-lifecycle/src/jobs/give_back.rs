//! Ends the rental of released numbers, so that no further month is charged.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::purchase;
use crate::store::Tenant;
use crate::store::resources::{self, Rented};

/// Runs one round; returns how many rentals it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = resources::to_give_back(&mut tx, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |it: &Rented| purchase::give_back(ctx, *it).await;
    super::queue(ctx, "give_back").work(ctx, due, one).await
}
