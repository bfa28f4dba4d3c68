//! `billing.watch_positions` and `billing.unbooked_news`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// How far `source` was followed; "" for the beginning.
pub async fn get(db: &mut PgConnection, source: &str) -> sqlx::Result<String> {
    let token = sqlx::query_scalar!(
        "-- billing.watch_positions.get\nSELECT resume_token FROM billing.watch_positions WHERE source = $1",
        source
    )
    .fetch_optional(db)
    .await?;
    Ok(token.unwrap_or_default())
}

/// Keeps news that could not be booked for a person to look at.
pub async fn insert_unbooked(
    db: &mut PgConnection,
    (source, token): (&str, &str),
    (subject, reason): (&str, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.unbooked_news.insert
        INSERT INTO billing.unbooked_news (source, resume_token, subject_id, reason, noted_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        source,
        token,
        subject,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes how far `source` was followed.
pub async fn set(db: &mut PgConnection, source: &str, token: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.watch_positions.set
        INSERT INTO billing.watch_positions (source, resume_token) VALUES ($1, $2)
        ON CONFLICT (source) DO UPDATE SET resume_token = $2",
        source,
        token
    )
    .execute(db)
    .await?;
    Ok(())
}
