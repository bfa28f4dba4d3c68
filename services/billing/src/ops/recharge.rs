//! Auto-recharge that ends or waits: its owner is told when it switches itself off (C-28).

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::recharge::{FAILURES_MAX, back_off};
use crate::error::Error;
use crate::store::{auto_recharges, outbox};

/// Switches it off where it is on, and tells why.
pub async fn switch_off(
    db: &mut PgConnection,
    root: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if auto_recharges::switch_off(db, root, reason).await? {
        outbox::recharge_disabled(db, root, reason, now).await?;
    }
    Ok(())
}

/// Notes a recharge that was declined: after each that counts the next waits longer, and after the last
/// there is none. One that never reached the provider does not count.
pub async fn declined(
    db: &mut PgConnection,
    root: Uuid,
    (reason, counts): (&str, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(setting) = auto_recharges::get(db, root).await? else {
        return Ok(());
    };
    let failures = setting.failures + i32::from(counts);
    let given_up = i32::try_from(FAILURES_MAX).is_ok_and(|max| max <= failures);
    let wait = TimeDelta::hours(back_off(u32::try_from(failures).unwrap_or(1)));
    let not_before = (!given_up).then(|| now + wait);
    auto_recharges::ended(db, root, (failures, not_before)).await?;
    if given_up {
        let reason = if reason.is_empty() {
            "DECLINED"
        } else {
            reason
        };
        switch_off(db, root, reason, now).await?;
    }
    Ok(())
}
