//! `payments.dispute_scans`

use chassis::PgConnection;
use chrono::{DateTime, Utc};

/// Takes the hourly dispute scan of a provider, by the database's clock. Returns the present time and the time up to
/// which disputes have been scanned; `None` if the scan is not due.
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

/// Records the time up to which a provider's disputes have been scanned completely.
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
