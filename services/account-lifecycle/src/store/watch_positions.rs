//! `account.watch_positions`

use chassis::PgConnection;

/// The resume token up to which `source` has been processed; "" for the beginning.
pub async fn get(db: &mut PgConnection, source: &str) -> sqlx::Result<String> {
    let token = sqlx::query_scalar!(
        "-- account.watch_positions.get\nSELECT resume_token FROM account.watch_positions WHERE source = $1",
        source
    )
    .fetch_optional(db)
    .await?;
    Ok(token.unwrap_or_default())
}

/// Advances the resume token of `source` from `from` to `to`. `false` if another replica has advanced it in the
/// meantime; the caller then rolls its transaction back.
pub async fn advance(
    db: &mut PgConnection,
    source: &str,
    (from, to): (&str, &str),
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.watch_positions.advance
        INSERT INTO account.watch_positions AS p (source, resume_token) VALUES ($1, $3)
        ON CONFLICT (source) DO UPDATE SET resume_token = $3 WHERE p.resume_token = $2",
        source,
        from,
        to
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
