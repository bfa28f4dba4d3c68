//! `billing.rentals`

use chrono::{DateTime, Months, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Something that is rented by the month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rental {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub rental_id: Uuid,
    /// NUMBER or `ADD_ON`.
    pub kind: String,
    /// Its code.
    pub code: String,
    /// The currency.
    pub currency: String,
    /// What a month costs, in millionths.
    pub monthly_micros: i64,
    /// From when.
    pub start_at: DateTime<Utc>,
    /// How many months have begun.
    pub month_count: i32,
    /// When the next one begins.
    pub next_at: DateTime<Utc>,
    /// Until when; `None` while it is rented.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Rental {
    /// When a month begins that is so many after the first: on the day of the first, or the last of a shorter month.
    pub fn month(start: DateTime<Utc>, count: i32) -> Option<DateTime<Utc>> {
        start.checked_add_months(Months::new(u32::try_from(count).ok()?))
    }
}

/// Adds a rental; `false` when its id is known.
pub async fn insert(db: &mut PgConnection, it: &Rental) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.rentals.insert
        INSERT INTO billing.rentals (root_id, rental_id, kind, code, currency, monthly_micros, start_at, month_count,
                                     next_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        it.root_id,
        it.rental_id,
        it.kind,
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

/// A rental, locked: after the balance of its account.
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

/// Up to `limit` rentals whose next month begins by `now`.
pub async fn due(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Rental>> {
    sqlx::query_as!(
        Rental,
        "-- billing.rentals.due
        SELECT root_id, rental_id, kind, code, currency, monthly_micros, start_at, month_count, next_at, ended_at
        FROM billing.rentals WHERE ended_at IS NULL AND next_at <= $1 AND look_at <= clock_timestamp()
        ORDER BY next_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the next month of a rental begins, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.rentals.next_due
        SELECT min(next_at) FROM billing.rentals WHERE ended_at IS NULL AND next_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// Notes that another month of a rental has begun.
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

/// Lets a rental be looked at again in a minute.
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

/// Ends a rental of a root account, or all that it has.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_on_the_day_of_the_first_or_the_last_of_a_shorter_one() {
        let start: DateTime<Utc> = "2026-01-31T04:00:00Z".parse().unwrap();
        let months: Vec<_> = (1..=4)
            .map(|count| {
                Rental::month(start, count)
                    .unwrap()
                    .date_naive()
                    .to_string()
            })
            .collect();
        assert_eq!(
            months,
            ["2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]
        );
    }
}
