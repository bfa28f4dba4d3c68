//! Raises an alert for each refund that was not paid out in time, once: an error in the log, and a counter
//! (REQ-062). What becomes of it is seen by `ListRefunds`.

use opentelemetry::global;
use values::{AccountId, RefundId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, enter, movements};

/// How many are told of in one step.
const BATCH: i64 = 50;

/// Tells of refunds that are overdue; gives of how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let overdue = movements::take_overdue(&mut tx, now, BATCH).await?;
    for (root, refund, due_on) in &overdue {
        tracing::error!(
            account.id = %AccountId::from_uuid(*root),
            refund.id = %RefundId::from_uuid(*refund),
            due.date = %due_on,
            "a refund is overdue"
        );
    }
    tx.commit().await?;
    let count = u64::try_from(overdue.len()).unwrap_or(u64::MAX);
    global::meter("perdiem")
        .u64_counter("refunds.overdue")
        .with_description("Refunds that were not paid out in time.")
        .build()
        .add(count, &[]);
    Ok(overdue.len())
}
