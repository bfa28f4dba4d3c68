//! `billing.usage_bills`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Has what a root account owes put on an invoice at an instant, and each month after; one that is there stays.
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

/// Up to `limit` root accounts whose month has ended at `now`.
pub async fn due(db: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.usage_bills.due
        SELECT root_id FROM billing.usage_bills WHERE next_at <= $1 AND look_at <= clock_timestamp()
        ORDER BY next_at, root_id LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When a month ends next, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.usage_bills.next_due\nSELECT min(next_at) FROM billing.usage_bills WHERE next_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// When the month of a root account ends, locked.
pub async fn lock(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.usage_bills.lock
        SELECT next_at FROM billing.usage_bills WHERE root_id = $1 FOR UPDATE",
        root
    )
    .fetch_optional(db)
    .await
}

/// Notes when the next month of a root account ends.
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

/// Looks at one in a minute, by the database's clock.
pub async fn put_off(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_bills.put_off
        UPDATE billing.usage_bills SET look_at = clock_timestamp() + interval '1 minute' WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets one.
pub async fn delete(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.usage_bills.delete\nDELETE FROM billing.usage_bills WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
