//! Releases numbers that were held long enough without a paid plan, or with an empty balance.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::hold;

/// How many accounts are looked at in one step.
const BATCH: i64 = 20;

/// Releases what is due; gives of how many accounts.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    hold::release(ctx, BATCH).await
}
