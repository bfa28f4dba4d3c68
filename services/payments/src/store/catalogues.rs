//! `payments.catalogues`

use chassis::PgConnection;
use chrono::{DateTime, Utc};

/// Inserts a document, unless its version exists, and returns the digest of the stored one.
pub async fn insert(
    db: &mut PgConnection,
    version: &str,
    digest: &str,
    document: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<String> {
    sqlx::query!(
        "-- payments.catalogues.insert
        INSERT INTO payments.catalogues (digest, version, document, imported_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING",
        digest,
        version,
        document,
        now
    )
    .execute(&mut *db)
    .await?;
    sqlx::query_scalar!(
        "-- payments.catalogues.digest\nSELECT digest FROM payments.catalogues WHERE version = $1",
        version
    )
    .fetch_one(db)
    .await
}

/// The document of a version, or the latest import if none is named.
pub async fn document(
    db: &mut PgConnection,
    version: Option<&str>,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "-- payments.catalogues.document
        SELECT document FROM payments.catalogues WHERE $1::text IS NULL OR version = $1
        ORDER BY imported_at DESC, version DESC LIMIT 1",
        version
    )
    .fetch_optional(db)
    .await
}
