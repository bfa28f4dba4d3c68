//! Runs the dunning of open invoices: notifies owners of issued ones and charges those that are due.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::dun;
use crate::store::dunnings::{self, Dunning};

/// Processes due invoices; returns how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut db = ctx.db.acquire().await?;
        Ok::<_, Error>(dunnings::due(&mut db, now, limit).await?)
    };
    let one = async |known: &Dunning| dun::go_on(ctx, known, now).await;
    super::queue(ctx, "dun").work(ctx, due, one).await
}
