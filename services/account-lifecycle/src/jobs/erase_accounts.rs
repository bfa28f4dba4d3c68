//! Deletes what closed accounts have, when their time has come (REQ-047).

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::erase;

/// Deletes the data of one account; gives whether there was one.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    match erase::next(ctx).await {
        Ok(found) => Ok(usize::from(found)),
        // One that goes wrong must not stop the others: it is tried again after its lease.
        Err(error) => {
            tracing::error!(error = %chassis::Chain(&error), "deleting an account's data failed");
            Ok(1)
        }
    }
}
