//! Carries out closings, where `CloseAccount` was cut short.

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::close;

/// Finishes what was cut short; gives how many were looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    match close::next(ctx, None).await {
        Ok(found) => Ok(usize::from(found)),
        // One that goes wrong must not stop the others: it is put off.
        Err(error) => {
            tracing::warn!(error = %chassis::Chain(&error), "closing an account failed");
            Ok(1)
        }
    }
}
