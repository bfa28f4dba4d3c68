//! `payments.catalogues`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Keeps a document, unless its version is there, and gives the digest of the one that is.
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

/// The document of a version; of the one imported last when none is named.
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
