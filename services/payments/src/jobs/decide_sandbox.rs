//! Decides what is due in the sandbox's book. Like a webhook, the decision is only a hint, after which the movement is
//! looked up.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, movements, sandbox};

/// Runs one round; returns how many requests it decided.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
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
