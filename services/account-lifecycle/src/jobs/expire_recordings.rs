//! Deletes recordings past the retention that the plan in force grants (REQ-088).

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::recording::{expired_by, next_look};
use crate::error::Error;
use crate::store::{Tenant, accounts, recordings};

/// Accounts checked per step.
const BATCH: i64 = 20;
/// The plan feature that grants retention, in days.
const FEATURE: &str = "recording_days";
/// Delay after a failure.
const PUT_OFF: TimeDelta = TimeDelta::minutes(5);

/// Checks the accounts that are due; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let due = recordings::to_look_at(&mut tx, now, BATCH).await?;
    tx.commit().await?;
    for root in &due {
        // One failure must not stop the others.
        if let Err(error) = expire(ctx, *root, now).await {
            tracing::error!(account.id = %root, error = %chassis::Chain(&error), "recordings could not be expired; retrying in five minutes");
            let mut tx = ctx.db.begin_as(Tenant::Root(*root)).await?;
            recordings::set_look(&mut tx, *root, Some(now + PUT_OFF)).await?;
            tx.commit().await?;
        }
    }
    Ok(due.len())
}

async fn expire(ctx: &Ctx, root: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let said = ctx
        .entitlement(AccountId::from_uuid(root), (FEATURE, 0), Some(now))
        .await?;
    let value = said.entitlement.unwrap_or_default().value;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    // Under the lock no recording can be added without a check being scheduled for it.
    accounts::lock(&mut tx, root).await?;
    if let Some(made_by) = expired_by(&value, now) {
        recordings::expire(&mut tx, root, (made_by, now)).await?;
    }
    let oldest = recordings::oldest(&mut tx, root).await?;
    let next = oldest.map(|made_at| next_look(&value, made_at, now));
    recordings::set_look(&mut tx, root, next).await?;
    tx.commit().await?;
    Ok(())
}
