//! Processes stored webhook events. Different subjects run concurrently; all events of one subject share a single
//! look-up.

use chassis::Queue;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::process_webhook::process_all;
use crate::store::{Tenant, webhooks};

/// Subjects processed concurrently.
const SIDE_BY_SIDE: usize = 32;

/// Runs one round; returns how many subjects it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let queue = Queue {
        job: "process_webhooks",
        side_by_side: SIDE_BY_SIDE,
        lease_seconds: i64::from(ctx.lease_seconds),
    };
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        Ok::<_, Error>(webhooks::due(&mut tx, limit).await?)
    };
    let one = async |subject: &String| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let events = webhooks::of_subject(&mut tx, subject).await?;
        tx.rollback().await?;
        process_all(ctx, &events).await
    };
    queue.work(ctx, due, one).await
}
