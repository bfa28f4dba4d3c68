//! `billing.watch_positions`

use chassis::PgConnection;

/// The resume token up to which `source` was followed; "" for the beginning.
pub async fn get(db: &mut PgConnection, source: &str) -> sqlx::Result<String> {
    let token = sqlx::query_scalar!(
        "-- billing.watch_positions.get\nSELECT resume_token FROM billing.watch_positions WHERE source = $1",
        source
    )
    .fetch_optional(db)
    .await?;
    Ok(token.unwrap_or_default())
}

/// Advances the position of `source` from `from` to `to`; `false` if another replica has advanced it, in which case
/// the caller must roll back what it did with the same events.
pub async fn advance(
    db: &mut PgConnection,
    source: &str,
    (from, to): (&str, &str),
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.watch_positions.advance
        INSERT INTO billing.watch_positions AS p (source, resume_token) VALUES ($1, $3)
        ON CONFLICT (source) DO UPDATE SET resume_token = $3 WHERE p.resume_token = $2",
        source,
        from,
        to
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
