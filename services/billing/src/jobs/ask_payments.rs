//! Asks `payments` for charges and refunds that are written down: where the call that wrote them was
//! cut short, and again after a refusal.

use chrono::TimeDelta;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{collect, give_back};
use crate::store::{collections, refunds};

/// After what time a refund of which nothing was heard is asked for again.
const AGAIN_AFTER: TimeDelta = TimeDelta::minutes(1);
/// How many of each are asked for in one step.
const BATCH: i64 = 20;

/// Asks for what is due; gives how many were asked for.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let charges = collections::take_to_ask(&mut db, BATCH, collect::WAIT_SECONDS).await?;
    let back = refunds::take_to_ask(&mut db, (now, now + AGAIN_AFTER), BATCH).await?;
    drop(db);
    let mut asked = 0;
    for id in charges {
        match collect::ask(ctx, id).await {
            Ok(()) => asked += 1,
            Err(error) => {
                tracing::warn!(collection.id = %id, error = %chassis::Chain(&error), "asking for a charge failed");
            }
        }
    }
    for id in back {
        match give_back::ask(ctx, id).await {
            Ok(()) => asked += 1,
            Err(error) => {
                tracing::warn!(refund.id = %id, error = %chassis::Chain(&error), "asking for a refund failed");
            }
        }
    }
    Ok(asked)
}
