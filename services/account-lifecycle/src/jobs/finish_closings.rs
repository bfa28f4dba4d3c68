//! Finishes closings whose `CloseAccount` was cut short.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::close;

/// Finishes one closing; returns how many it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    match close::next(ctx, None).await {
        Ok(found) => Ok(usize::from(found)),
        Err(error @ Error::Database(_)) => Err(error),
        // One failure must not stop the others: the closing is scheduled for a retry and the error has been logged.
        Err(_) => Ok(1),
    }
}
