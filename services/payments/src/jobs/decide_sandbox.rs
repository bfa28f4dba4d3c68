//! Lets happen at the embedded provider what is due there, and takes its word as a webhook is taken:
//! as a hint, on which the movement is looked up.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, enter, movements, sandbox};

/// Decides what is due; gives how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let decided = sandbox::decide(&mut tx, now, None).await?;
    if !decided.is_empty() {
        movements::look_up_now(&mut tx, &decided).await?;
    }
    tx.commit().await?;
    if !decided.is_empty() {
        ctx.wake.notify_waiters();
    }
    Ok(decided.len())
}
