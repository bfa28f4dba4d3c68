//! `billing.rentals`

use std::fmt;

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::rental::Kind;

chassis::stored_as_text!(Kind, "billing.rentals.kind");

/// A monthly rental.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rental {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub rental_id: Uuid,
    /// What is rented.
    pub kind: Kind,
    /// Code of the number or add-on.
    pub code: String,
    /// The currency.
    pub currency: String,
    /// Monthly price in millionths.
    pub monthly_micros: i64,
    /// Start time.
    pub start_at: DateTime<Utc>,
    /// Number of months started.
    pub month_count: i32,
    /// Start of the next month.
    pub next_at: DateTime<Utc>,
    /// End time; `None` while it lasts.
    pub ended_at: Option<DateTime<Utc>>,
}

/// Shows its id, which is the key of its work.
impl fmt::Display for Rental {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.rental_id, f)
    }
}

/// Adds a rental; `false` if its id exists.
pub async fn insert(db: &mut PgConnection, it: &Rental) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.rentals.insert
        INSERT INTO billing.rentals (root_id, rental_id, kind, code, currency, monthly_micros, start_at, month_count,
                                     next_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        it.root_id,
        it.rental_id,
        it.kind.as_str(),
        it.code,
        it.currency,
        it.monthly_micros,
        it.start_at,
        it.month_count,
        it.next_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A rental; locks the row. The balance of its account is locked before.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Rental>> {
    sqlx::query_as!(
        Rental,
        "-- billing.rentals.lock
        SELECT root_id, rental_id, kind, code, currency, monthly_micros, start_at, month_count, next_at, ended_at
        FROM billing.rentals WHERE rental_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` rentals whose next month starts by `now` and that no worker holds.
pub async fn due(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Rental>> {
    sqlx::query_as!(
        Rental,
        "-- billing.rentals.due
        SELECT root_id, rental_id, kind, code, currency, monthly_micros, start_at, month_count, next_at, ended_at
        FROM billing.rentals
        WHERE ended_at IS NULL AND next_at <= $1 AND look_at <= clock_timestamp()
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'charge_rentals' AND c.key = rental_id::text
                            AND clock_timestamp() < c.held_until)
        ORDER BY next_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The next start of a rental month, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.rentals.next_due
        SELECT min(next_at) FROM billing.rentals
        WHERE ended_at IS NULL AND next_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'charge_rentals' AND c.key = rental_id::text
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// Records that another month of a rental has started.
pub async fn set_month(
    db: &mut PgConnection,
    id: Uuid,
    (count, next_at): (i32, DateTime<Utc>),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.rentals.set_month
        UPDATE billing.rentals SET month_count = $2, next_at = $3 WHERE rental_id = $1",
        id,
        count,
        next_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Postpones the next look at a rental by a minute.
pub async fn put_off(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.rentals.put_off
        UPDATE billing.rentals SET look_at = clock_timestamp() + interval '1 minute' WHERE rental_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Ends one rental of a root account, or all of them.
pub async fn end(
    db: &mut PgConnection,
    (root, only): (Uuid, Option<Uuid>),
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.rentals.end
        UPDATE billing.rentals SET ended_at = greatest(start_at, $3)
        WHERE root_id = $1 AND ($2::uuid IS NULL OR rental_id = $2) AND ended_at IS NULL",
        root,
        only,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` rentals of a root account before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    root: Uuid,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Rental>> {
    let (start_at, id) = before.unzip();
    sqlx::query_as!(
        Rental,
        "-- billing.rentals.list
        SELECT root_id, rental_id, kind, code, currency, monthly_micros, start_at, month_count, next_at, ended_at
        FROM billing.rentals
        WHERE root_id = $1 AND ($2::timestamptz IS NULL OR (start_at, rental_id) < ($2, $3::uuid))
        ORDER BY start_at DESC, rental_id DESC LIMIT $4",
        root,
        start_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
