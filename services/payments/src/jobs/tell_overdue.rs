//! Raises an alert once for each refund that was not paid out in time: an error in the log, and a counter (REQ-062).
//! `ListRefunds` shows its further course.

use opentelemetry::global;
use values::{AccountId, RefundId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, movements};

/// Refunds reported per step.
const BATCH: i64 = 50;

/// Reports overdue refunds; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
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
