//! `billing.usage_bills`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Schedules the monthly usage invoice of a root account, first at `next_at`. An existing schedule is unchanged.
pub async fn insert(db: &mut PgConnection, root: Uuid, next_at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_bills.insert
        INSERT INTO billing.usage_bills (root_id, next_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        root,
        next_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` root accounts whose month has ended at `now` and that no worker holds.
pub async fn due(db: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.usage_bills.due
        SELECT root_id FROM billing.usage_bills
        WHERE next_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'invoice_usage' AND c.key = root_id::text
                            AND clock_timestamp() < c.held_until)
        ORDER BY next_at, root_id LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The next end of a month, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.usage_bills.next_due
        SELECT min(next_at) FROM billing.usage_bills
        WHERE next_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'invoice_usage' AND c.key = root_id::text
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// The end of a root account's current month; locks the row.
pub async fn lock(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.usage_bills.lock
        SELECT next_at FROM billing.usage_bills WHERE root_id = $1 FOR UPDATE",
        root
    )
    .fetch_optional(db)
    .await
}

/// Sets the end of a root account's next month.
pub async fn set(db: &mut PgConnection, root: Uuid, next_at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_bills.set\nUPDATE billing.usage_bills SET next_at = $2 WHERE root_id = $1",
        root,
        next_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Removes the schedule of a root account.
pub async fn delete(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_bills.delete\nDELETE FROM billing.usage_bills WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
