//! Tells billing of released numbers that it rents: no further month of them is paid.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::purchase;

/// How many are looked at in one step.
const BATCH: i64 = 50;

/// Tells of what was released; gives of how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    purchase::give_back(ctx, BATCH).await
}
