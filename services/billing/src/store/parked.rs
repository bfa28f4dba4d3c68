//! `billing.parked_accounts`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A parked account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The payer.
    pub root_id: Uuid,
    /// Why.
    pub reason: String,
    /// Details for an operator.
    pub detail: String,
    /// When.
    pub parked_at: DateTime<Utc>,
    /// When it was released.
    pub released_at: Option<DateTime<Utc>>,
    /// The series of a number that was set aside for it.
    pub series_id: Option<i32>,
    /// That number.
    pub number: Option<i64>,
}

/// Parks an account of a run, also one that was released before; a number once set aside stays so.
pub async fn insert(db: &mut PgConnection, run: Uuid, parked: &Parked) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.parked_accounts.insert
        INSERT INTO billing.parked_accounts (run_id, root_id, reason, detail, parked_at, series_id, number)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (run_id, root_id) DO UPDATE
        SET reason = EXCLUDED.reason, detail = EXCLUDED.detail, parked_at = EXCLUDED.parked_at, released_at = NULL,
            series_id = COALESCE(EXCLUDED.series_id, parked_accounts.series_id),
            number = COALESCE(EXCLUDED.number, parked_accounts.number)",
        run,
        parked.root_id,
        parked.reason,
        parked.detail,
        parked.parked_at,
        parked.series_id,
        parked.number
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An account that is parked and not released, locked.
pub async fn lock(db: &mut PgConnection, run: Uuid, root: Uuid) -> sqlx::Result<Option<Parked>> {
    sqlx::query_as!(
        Parked,
        "-- billing.parked_accounts.lock
        SELECT root_id, reason, detail, parked_at, released_at, series_id, number FROM billing.parked_accounts
        WHERE run_id = $1 AND root_id = $2 AND released_at IS NULL FOR UPDATE",
        run,
        root
    )
    .fetch_optional(db)
    .await
}

/// Why a run of a family has not billed an account: it is parked, and was not released.
pub async fn open(db: &mut PgConnection, family: &str, root: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "-- billing.parked_accounts.open
        SELECT p.reason || ', ' || p.detail FROM billing.runs r JOIN billing.parked_accounts p USING (run_id)
        WHERE r.family_code = $1 AND NOT r.dry_run AND p.root_id = $2 AND p.released_at IS NULL LIMIT 1",
        family,
        root
    )
    .fetch_optional(db)
    .await
    .map(Option::flatten)
}

/// Releases an account.
pub async fn release(
    db: &mut PgConnection,
    run: Uuid,
    root: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.parked_accounts.release
        UPDATE billing.parked_accounts SET released_at = $3 WHERE run_id = $1 AND root_id = $2",
        run,
        root,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` parked accounts of a run after `after`, by account.
pub async fn list(
    db: &mut PgConnection,
    run: Uuid,
    released_too: bool,
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Parked>> {
    sqlx::query_as!(
        Parked,
        "-- billing.parked_accounts.list
        SELECT root_id, reason, detail, parked_at, released_at, series_id, number FROM billing.parked_accounts
        WHERE run_id = $1 AND ($2 OR released_at IS NULL) AND ($3::uuid IS NULL OR root_id > $3)
        ORDER BY root_id LIMIT $4",
        run,
        released_too,
        after,
        limit
    )
    .fetch_all(db)
    .await
}
