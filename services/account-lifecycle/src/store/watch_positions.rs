//! `account.watch_positions`

use sqlx::PgConnection;

/// How far `source` was followed; "" for the beginning.
pub async fn get(db: &mut PgConnection, source: &str) -> sqlx::Result<String> {
    let token = sqlx::query_scalar!(
        "-- account.watch_positions.get\nSELECT resume_token FROM account.watch_positions WHERE source = $1",
        source
    )
    .fetch_optional(db)
    .await?;
    Ok(token.unwrap_or_default())
}

/// Notes how far `source` was followed.
pub async fn set(db: &mut PgConnection, source: &str, token: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.watch_positions.set
        INSERT INTO account.watch_positions (source, resume_token) VALUES ($1, $2)
        ON CONFLICT (source) DO UPDATE SET resume_token = $2",
        source,
        token
    )
    .execute(db)
    .await?;
    Ok(())
}
