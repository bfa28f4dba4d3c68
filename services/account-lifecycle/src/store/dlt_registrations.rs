//! `account.dlt_registrations`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A DLT registration as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The root account.
    pub root_id: Uuid,
    /// Registration id.
    pub registration_id: Uuid,
    /// Destination country, ISO 3166 code.
    pub country_code: String,
    /// The sender's entity id in the national registry.
    pub entity_id: String,
    /// Registered sender names.
    pub headers: Vec<String>,
    /// Start of its validity.
    pub created_at: DateTime<Utc>,
    /// End of its validity; `None` while it is in force.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Inserts a registration. `false` if one is already in force for the country.
pub async fn insert(db: &mut PgConnection, it: &Registration) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.dlt_registrations.insert
        INSERT INTO account.dlt_registrations (root_id, registration_id, country_code, entity_id, headers, created_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        it.root_id,
        it.registration_id,
        it.country_code,
        it.entity_id,
        &it.headers,
        it.created_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The registration `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Registration>> {
    sqlx::query_as!(
        Registration,
        "-- account.dlt_registrations.get
        SELECT root_id, registration_id, country_code, entity_id, headers, created_at, revoked_at
        FROM account.dlt_registrations WHERE registration_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` registrations of a root account before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    root: Uuid,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Registration>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Registration,
        "-- account.dlt_registrations.list
        SELECT root_id, registration_id, country_code, entity_id, headers, created_at, revoked_at
        FROM account.dlt_registrations
        WHERE root_id = $1 AND ($2::timestamptz IS NULL OR (created_at, registration_id) < ($2, $3::uuid))
        ORDER BY created_at DESC, registration_id DESC LIMIT $4",
        root,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Whether a registration for a country was in force at an instant.
pub async fn any_at(
    db: &mut PgConnection,
    (root, country): (Uuid, &str),
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.dlt_registrations.any_at
        SELECT EXISTS (
            SELECT FROM account.dlt_registrations
            WHERE root_id = $1 AND country_code = $2 AND created_at <= $3 AND (revoked_at IS NULL OR $3 < revoked_at)
        ) AS "any!""#,
        root,
        country,
        at
    )
    .fetch_one(db)
    .await
}

/// Revokes a registration.
pub async fn revoke(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.dlt_registrations.revoke
        UPDATE account.dlt_registrations SET revoked_at = greatest(created_at, $2) WHERE registration_id = $1 AND revoked_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
