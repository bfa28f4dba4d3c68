//! Ends or pauses auto-recharge. The owner is notified when it is switched off (C-28) or paused (D34).

use chassis::PgConnection;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::collect;
use crate::clients::Catalogue;
use crate::domain::recharge::{FAILURES_MAX, SUCCESSES_WITHIN, back_off, pauses};
use crate::error::Error;
use crate::store::{accounts, auto_recharges, collections, outbox};

/// Switches auto-recharge off if it is on, and notifies the owner of the reason.
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

/// Records a successful recharge. After several within an hour (`pauses`), the next one waits for the profile's pause
/// and the owner is notified (D34).
pub async fn succeeded(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    auto_recharges::ended(db, root, (0, Some(now))).await?;
    let since = now - SUCCESSES_WITHIN;
    if !pauses(collections::recharges_succeeded(db, root, since).await?) {
        return Ok(());
    }
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let Some(policy) = &collect::profile(catalogue, &account)?.recharge else {
        return Ok(());
    };
    let until = now + policy.pause;
    if auto_recharges::pause(db, root, until).await? {
        outbox::recharge_paused(db, root, until, now).await?;
    }
    Ok(())
}

/// Records a declined recharge. Each decline that counts lengthens the wait for the next attempt, and the last one
/// switches auto-recharge off. A charge that never reached the provider does not count.
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
