//! `payments.dispute_scans`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Takes the looking through of a provider's book, once an hour by the database's clock: its time, and up to when it
/// was looked through before; `None` where it is not due.
pub async fn take(
    db: &mut PgConnection,
    provider: &str,
) -> sqlx::Result<Option<(DateTime<Utc>, Option<DateTime<Utc>>)>> {
    let row = sqlx::query!(
        r#"-- payments.dispute_scans.take
        INSERT INTO payments.dispute_scans AS s (provider_code, next_at)
        VALUES ($1, clock_timestamp() + interval '1 hour')
        ON CONFLICT (provider_code) DO UPDATE SET next_at = clock_timestamp() + interval '1 hour'
            WHERE s.next_at <= clock_timestamp()
        RETURNING clock_timestamp() AS "now!", done_at"#,
        provider
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.now, row.done_at)))
}

/// Notes up to when a provider's book was looked through to the end.
pub async fn set_done(
    db: &mut PgConnection,
    provider: &str,
    done_at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.dispute_scans.set_done
        UPDATE payments.dispute_scans SET done_at = $2 WHERE provider_code = $1",
        provider,
        done_at
    )
    .execute(db)
    .await?;
    Ok(())
}
