//! `plan.catalogues`: imported catalogue versions.

use chassis::PgConnection;
use chrono::{DateTime, Utc};

use crate::domain::catalogue_version::State;

chassis::stored_as_text!(State, "plan.catalogues.state");

/// A catalogue version, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Version name.
    pub version: String,
    /// SHA-256 of the document, in hex.
    pub digest: String,
    /// YAML document.
    pub document: String,
    /// State.
    pub state: State,
    /// Effective time stated by the document.
    pub effective_at: DateTime<Utc>,
    /// Import time.
    pub imported_at: DateTime<Utc>,
}

/// Inserts a version; `false` if its name exists.
pub async fn insert(db: &mut PgConnection, stored: &Stored) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- plan.catalogues.insert
        INSERT INTO plan.catalogues (version, digest, document, state, effective_at, imported_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        stored.version,
        stored.digest,
        stored.document,
        stored.state.as_str(),
        stored.effective_at,
        stored.imported_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The version `version`.
pub async fn get(db: &mut PgConnection, version: &str) -> sqlx::Result<Option<Stored>> {
    sqlx::query_as!(
        Stored,
        "-- plan.catalogues.get
        SELECT version, digest, document, state, effective_at, imported_at FROM plan.catalogues WHERE version = $1",
        version
    )
    .fetch_optional(db)
    .await
}

/// The name of the active version.
pub async fn active(db: &mut PgConnection) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "-- plan.catalogues.active\nSELECT version FROM plan.catalogues WHERE state = 'ACTIVE'"
    )
    .fetch_optional(db)
    .await
}

/// Activates `version` and retires the previous one. Concurrent activations are serialized.
pub async fn activate(db: &mut PgConnection, version: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.catalogues.retire
        UPDATE plan.catalogues SET state = 'RETIRED' WHERE state = 'ACTIVE' AND version <> $1",
        version
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!("-- plan.catalogues.activate\nUPDATE plan.catalogues SET state = 'ACTIVE' WHERE version = $1", version)
        .execute(db)
        .await?;
    Ok(())
}

/// Up to `limit` versions imported before `before`, newest first, without their documents.
pub async fn list(
    db: &mut PgConnection,
    before: Option<DateTime<Utc>>,
    limit: i64,
) -> sqlx::Result<Vec<Stored>> {
    sqlx::query_as!(
        Stored,
        r#"-- plan.catalogues.list
        SELECT version, digest, '' AS "document!", state, effective_at, imported_at FROM plan.catalogues
        WHERE $1::timestamptz IS NULL OR imported_at < $1 ORDER BY imported_at DESC LIMIT $2"#,
        before,
        limit
    )
    .fetch_all(db)
    .await
}
