//! Erases the payout details of closed accounts after their last refund (D32).

use chrono::{DateTime, TimeDelta, Utc};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::payout_details::Due;
use crate::store::{Tenant, payout_details};

/// Interval between two checks.
const AGAIN: TimeDelta = TimeDelta::hours(1);

/// Runs one round; returns how many accounts it checked.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = payout_details::to_look_at(&mut tx, now, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |due: &Due| look_at(ctx, *due, now).await;
    let queue = super::queue(ctx, "erase_payout_details");
    queue.work(ctx, due, one).await
}

/// Erases the details of an account whose refunds have ended. Details given while the refunds are counted stay and are
/// checked again.
async fn look_at(ctx: &Ctx, due: Due, now: DateTime<Utc>) -> Result<(), Error> {
    let open = ctx.open_refunds(due.root_id).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(due.root_id)).await?;
    if open == 0 {
        payout_details::erase(&mut tx, due).await?;
    } else {
        payout_details::look_at(&mut tx, due.root_id, now + AGAIN).await?;
    }
    tx.commit().await?;
    Ok(())
}
