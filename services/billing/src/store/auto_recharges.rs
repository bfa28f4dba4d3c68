//! `billing.auto_recharges`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The auto-recharge setting and state of a root account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoRecharge {
    /// The root account.
    pub root_id: Uuid,
    /// Whether it is on.
    pub enabled: bool,
    /// Balance in millionths below which a recharge is due.
    pub threshold_micros: i64,
    /// Target balance, or amount of each charge, in millionths.
    pub amount_micros: i64,
    /// The largest amount of one charge, in millionths.
    pub maximum_micros: i64,
    /// The smallest charge its method accepts, in millionths; 0 for none.
    pub minimum_micros: i64,
    /// The payment method; `None` for the account's default method.
    pub method_id: Option<Uuid>,
    /// Number of failures since the last success.
    pub failures: i32,
    /// Earliest time of the next recharge after a declined one.
    pub not_before: Option<DateTime<Utc>>,
    /// End of the current or last pause after several successes in a short time.
    pub paused_until: Option<DateTime<Utc>>,
    /// Why it was switched off automatically; empty otherwise.
    pub disable_reason: String,
}

/// The setting of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<AutoRecharge>> {
    sqlx::query_as!(
        AutoRecharge,
        r#"-- billing.auto_recharges.get
        SELECT root_id, enabled, threshold_micros, amount_micros,
               coalesce(maximum_micros, amount_micros) AS "maximum_micros!", minimum_micros, method_id, failures,
               not_before, paused_until, disable_reason
        FROM billing.auto_recharges WHERE root_id = $1"#,
        root
    )
    .fetch_optional(db)
    .await
}

/// Stores a setting and schedules a check of the balance `now`.
pub async fn set(
    db: &mut PgConnection,
    setting: &AutoRecharge,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.auto_recharges.set
        INSERT INTO billing.auto_recharges (root_id, enabled, threshold_micros, amount_micros, method_id, look_at, set_at,
                                            maximum_micros, minimum_micros)
        VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)
        ON CONFLICT (root_id) DO UPDATE
        SET enabled = $2, threshold_micros = $3, amount_micros = $4, method_id = $5, failures = 0, disable_reason = '',
            look_at = $6, not_before = NULL, set_at = $6, maximum_micros = $7, minimum_micros = $8, paused_until = NULL",
        setting.root_id,
        setting.enabled,
        setting.threshold_micros,
        setting.amount_micros,
        setting.method_id,
        now,
        setting.maximum_micros,
        setting.minimum_micros
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Schedules a check of those of `roots` whose balance is below their auto-recharge threshold. The balances are
/// locked. An account with a recharge under way is checked when that ends, and one that waits is checked at the end
/// of its wait.
pub async fn touch(db: &mut PgConnection, roots: &[Uuid], now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.auto_recharges.touch
        UPDATE billing.auto_recharges r SET look_at = $2
        WHERE r.root_id = ANY($1) AND r.enabled AND r.look_at IS NULL
          AND (SELECT coalesce(sum(l.remaining_micros), 0) FROM billing.lots l
               WHERE l.root_id = r.root_id AND 0 < l.remaining_micros AND (l.expires_at IS NULL OR $2 < l.expires_at))
            - (SELECT coalesce(sum(b.overdraft_micros), 0) FROM billing.balances b WHERE b.root_id = r.root_id)
            < r.threshold_micros
          AND NOT EXISTS (SELECT FROM billing.collections c WHERE c.root_id = r.root_id AND c.purpose = 'RECHARGE'
                                                              AND c.state NOT IN ('SUCCEEDED', 'DECLINED'))",
        roots,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` accounts whose balance is due for a check and that no worker holds.
pub async fn due(db: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.auto_recharges.due
        SELECT root_id FROM billing.auto_recharges
        WHERE enabled AND look_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'recharge' AND c.key = root_id::text
                            AND clock_timestamp() < c.held_until)
        ORDER BY look_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The setting of a root account that is due for a check; locks the row. The balance is locked.
pub async fn lock_due(
    db: &mut PgConnection,
    root: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Option<AutoRecharge>> {
    sqlx::query_as!(
        AutoRecharge,
        r#"-- billing.auto_recharges.lock_due
        SELECT root_id, enabled, threshold_micros, amount_micros,
               coalesce(maximum_micros, amount_micros) AS "maximum_micros!", minimum_micros, method_id, failures,
               not_before, paused_until, disable_reason
        FROM billing.auto_recharges WHERE root_id = $2 AND enabled AND look_at <= $1 FOR UPDATE"#,
        now,
        root
    )
    .fetch_optional(db)
    .await
}

/// Sets the time of the next check; `None` waits until the balance changes.
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

/// Records the outcome of a recharge: the number of failures since the last success and the earliest time of the next
/// recharge, which is also the next check; `None` if there is none.
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

/// Pauses auto-recharge until an instant; returns whether it is enabled.
pub async fn pause(db: &mut PgConnection, root: Uuid, until: DateTime<Utc>) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.auto_recharges.pause
        UPDATE billing.auto_recharges SET paused_until = $2, not_before = $2, look_at = $2
        WHERE root_id = $1 AND enabled",
        root,
        until
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Switches auto-recharge off with a reason; returns whether it was on.
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

/// The next scheduled check, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.auto_recharges.next_due
        SELECT min(look_at) FROM billing.auto_recharges
        WHERE enabled AND look_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'recharge' AND c.key = root_id::text
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}
