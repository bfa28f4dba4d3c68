//! `billing.auto_recharges`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// When and how a balance is filled by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoRecharge {
    /// The root account.
    pub root_id: Uuid,
    /// Whether it is on.
    pub enabled: bool,
    /// Below this balance it acts.
    pub threshold_micros: i64,
    /// The balance to reach, or the sum of each charge.
    pub amount_micros: i64,
    /// The payment method; `None` for the account's default one.
    pub method_id: Option<Uuid>,
    /// Failures since the last success.
    pub failures: i32,
    /// Before when no recharge begins, after one that was declined.
    pub not_before: Option<DateTime<Utc>>,
    /// Why it was switched off by itself.
    pub disable_reason: String,
}

/// The setting of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<AutoRecharge>> {
    sqlx::query_as!(
        AutoRecharge,
        "-- billing.auto_recharges.get
        SELECT root_id, enabled, threshold_micros, amount_micros, method_id, failures, not_before, disable_reason
        FROM billing.auto_recharges WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Keeps a setting; the balance is looked at `now`.
pub async fn set(
    db: &mut PgConnection,
    setting: &AutoRecharge,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.auto_recharges.set
        INSERT INTO billing.auto_recharges (root_id, enabled, threshold_micros, amount_micros, method_id, look_at)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (root_id) DO UPDATE
        SET enabled = $2, threshold_micros = $3, amount_micros = $4, method_id = $5, failures = 0, disable_reason = '',
            look_at = $6, not_before = NULL",
        setting.root_id,
        setting.enabled,
        setting.threshold_micros,
        setting.amount_micros,
        setting.method_id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that the balances of `roots` have changed: those that are filled by themselves are looked at.
pub async fn touch(db: &mut PgConnection, roots: &[Uuid], now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.auto_recharges.touch
        UPDATE billing.auto_recharges SET look_at = least(look_at, $2) WHERE root_id = ANY($1) AND enabled",
        roots,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// One account whose balance is to be looked at.
pub async fn due(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.auto_recharges.due
        SELECT root_id FROM billing.auto_recharges WHERE enabled AND look_at <= $1 ORDER BY look_at LIMIT 1",
        now
    )
    .fetch_optional(db)
    .await
}

/// The setting of a root account whose balance is locked and is to be looked at, locked.
pub async fn lock_due(
    db: &mut PgConnection,
    root: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<AutoRecharge>> {
    sqlx::query_as!(
        AutoRecharge,
        "-- billing.auto_recharges.lock_due
        SELECT root_id, enabled, threshold_micros, amount_micros, method_id, failures, not_before, disable_reason
        FROM billing.auto_recharges WHERE root_id = $2 AND enabled AND look_at <= $1 FOR UPDATE",
        now,
        root
    )
    .fetch_optional(db)
    .await
}

/// Notes when the balance is to be looked at next; `None` for when it changes.
pub async fn look_at(
    db: &mut PgConnection,
    root: Uuid,
    at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.auto_recharges.look_at\nUPDATE billing.auto_recharges SET look_at = $2 WHERE root_id = $1",
        root,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes what became of a recharge: failures since the last success, and before when there is no other; then the
/// balance is looked at. `None` where there is none.
pub async fn ended(
    db: &mut PgConnection,
    root: Uuid,
    (failures, not_before): (i32, Option<DateTime<Utc>>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.auto_recharges.ended
        UPDATE billing.auto_recharges SET failures = $2, look_at = $3, not_before = $3 WHERE root_id = $1",
        root,
        failures,
        not_before
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Switches it off, with why; gives whether it was on.
pub async fn switch_off(db: &mut PgConnection, root: Uuid, reason: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.auto_recharges.switch_off
        UPDATE billing.auto_recharges SET enabled = false, disable_reason = $2 WHERE root_id = $1 AND enabled",
        root,
        reason
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// When a balance is to be looked at next, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.auto_recharges.next_due
        SELECT min(look_at) FROM billing.auto_recharges WHERE enabled AND look_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}
