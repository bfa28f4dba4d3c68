//! `billing.retention_keys` and `billing.sealed_recipients`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The key of a deleted account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// 32 bytes.
    pub key: Vec<u8>,
    /// When it is destroyed, together with the data it encrypts.
    pub destroy_at: DateTime<Utc>,
}

/// The key of a deleted account; `None` if nothing is or remains retained.
pub async fn key(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<Kept>> {
    sqlx::query_as!(
        Kept,
        "-- billing.retained.key\nSELECT key, destroy_at FROM billing.retention_keys WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Stores the key of an account.
pub async fn insert_key(db: &mut PgConnection, root: Uuid, kept: &Kept) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.retained.insert_key
        INSERT INTO billing.retention_keys (root_id, key, destroy_at) VALUES ($1, $2, $3)",
        root,
        kept.key,
        kept.destroy_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores a sealed recipient.
pub async fn insert(
    db: &mut PgConnection,
    (root, since): (Uuid, DateTime<Utc>),
    sealed: &[u8],
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.retained.insert
        INSERT INTO billing.sealed_recipients (root_id, since, sealed) VALUES ($1, $2, $3)",
        root,
        since,
        sealed
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The sealed recipients of an account, oldest first.
pub async fn list(
    db: &mut PgConnection,
    root: Uuid,
) -> sqlx::Result<Vec<(DateTime<Utc>, Vec<u8>)>> {
    let rows = sqlx::query!(
        "-- billing.retained.list
        SELECT since, sealed FROM billing.sealed_recipients WHERE root_id = $1 ORDER BY since",
        root
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|it| (it.since, it.sealed)).collect())
}

/// Destroys up to `limit` keys whose retention has ended, and the data they encrypt; returns their root accounts.
pub async fn destroy(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"-- billing.retained.destroy
        WITH due AS (
            DELETE FROM billing.retention_keys WHERE root_id IN (
                SELECT root_id FROM billing.retention_keys WHERE destroy_at <= $1
                ORDER BY destroy_at LIMIT $2)
            RETURNING root_id
        ), sealed AS (
            DELETE FROM billing.sealed_recipients WHERE root_id IN (SELECT root_id FROM due)
        )
        SELECT root_id AS "root_id!" FROM due"#,
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The next time a key is to be destroyed, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.retained.next_due
        SELECT min(destroy_at) FROM billing.retention_keys WHERE destroy_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}
