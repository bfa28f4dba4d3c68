//! `account.dlt_registrations`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A registration as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub registration_id: Uuid,
    /// The destination country.
    pub country_code: String,
    /// The registry's id of the sender.
    pub entity_id: String,
    /// The sender names registered.
    pub headers: Vec<String>,
    /// From when it is in force.
    pub created_at: DateTime<Utc>,
    /// Until when.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Adds a registration; whether there was none in force for its country.
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

/// Ends a registration.
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

/// Deletes the registrations of a root account.
pub async fn erase(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.dlt_registrations.erase\nDELETE FROM account.dlt_registrations WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
