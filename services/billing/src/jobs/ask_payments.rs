//! Requests stored charges and refunds from `payments`: those whose first call was interrupted, and refunds due for
//! another attempt.

use chrono::TimeDelta;
use futures::future::join_all;
use futures::join;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{collect, give_back};
use crate::store::{collections, refunds};

/// Delay before an unanswered refund request is repeated.
const AGAIN_AFTER: TimeDelta = TimeDelta::minutes(1);
/// The most charges, and the most refunds, requested concurrently in one step.
const BATCH: i64 = 20;

/// Requests what is due; returns how many requests succeeded.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let charges = collections::take_to_ask(&mut db, BATCH, collect::WAIT_SECONDS).await?;
    let back = refunds::take_to_ask(&mut db, (now, now + AGAIN_AFTER), BATCH).await?;
    drop(db);
    let charges = charges.into_iter().map(|id| async move {
        let asked = chassis::traced("ask_payments", collect::ask(ctx, id)).await;
        if let Err(error) = &asked {
            tracing::warn!(
                collection.id = %id,
                error = %chassis::Chain(error),
                "requesting a charge failed; it is requested again unless it was refused"
            );
        }
        asked.is_ok()
    });
    let back = back.into_iter().map(|id| async move {
        let asked = chassis::traced("ask_payments", give_back::ask(ctx, id)).await;
        if let Err(error) = &asked {
            tracing::warn!(
                refund.id = %id,
                error = %chassis::Chain(error),
                "requesting a refund failed; it is requested again unless it was refused"
            );
        }
        asked.is_ok()
    });
    let (charges, back) = join!(join_all(charges), join_all(back));
    Ok(charges
        .into_iter()
        .chain(back)
        .filter(|asked| *asked)
        .count())
}
