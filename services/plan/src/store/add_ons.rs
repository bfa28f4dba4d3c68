//! `plan.add_ons`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An add-on of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddOn {
    /// Code, equal to that of the feature it grants.
    pub add_on_code: String,
    /// Start time.
    pub start_at: DateTime<Utc>,
    /// End time; `None` while it is booked.
    pub end_at: Option<DateTime<Utc>>,
    /// ISO 4217 code.
    pub currency: String,
    /// Monthly price, in minor units.
    pub monthly_minor: i64,
}

/// Inserts an add-on of a root account; `false` if it is already booked.
pub async fn insert(db: &mut PgConnection, root: Uuid, it: &AddOn) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- plan.add_ons.insert
        INSERT INTO plan.add_ons (root_id, add_on_code, start_at, currency, monthly_minor) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT DO NOTHING",
        root,
        it.add_on_code,
        it.start_at,
        it.currency,
        it.monthly_minor
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends the booked add-ons of a root account, all or the one with `code`; returns those that ended.
pub async fn end(
    db: &mut PgConnection,
    (root, code): (Uuid, Option<&str>),
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<AddOn>> {
    sqlx::query_as!(
        AddOn,
        "-- plan.add_ons.end
        UPDATE plan.add_ons SET end_at = greatest(start_at, $3)
        WHERE root_id = $1 AND ($2::text IS NULL OR add_on_code = $2) AND end_at IS NULL
        RETURNING add_on_code, start_at, end_at, currency, monthly_minor",
        root,
        code,
        now
    )
    .fetch_all(db)
    .await
}

/// The add-ons of a root account, newest first.
pub async fn list(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<AddOn>> {
    sqlx::query_as!(
        AddOn,
        "-- plan.add_ons.list
        SELECT add_on_code, start_at, end_at, currency, monthly_minor FROM plan.add_ons WHERE root_id = $1
        ORDER BY start_at DESC, add_on_code",
        root
    )
    .fetch_all(db)
    .await
}

/// Whether a root account had an add-on booked at an instant.
pub async fn any_at(
    db: &mut PgConnection,
    (root, code): (Uuid, &str),
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- plan.add_ons.any_at
        SELECT EXISTS (SELECT FROM plan.add_ons
                       WHERE root_id = $1 AND add_on_code = $2 AND start_at <= $3 AND (end_at IS NULL OR $3 < end_at)
        ) AS "any!""#,
        root,
        code,
        at
    )
    .fetch_one(db)
    .await
}
