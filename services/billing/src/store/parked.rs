//! `billing.parked_accounts`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A parked account as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The payer.
    pub root_id: Uuid,
    /// Reason code.
    pub reason: String,
    /// Details for an operator.
    pub detail: String,
    /// Time of parking.
    pub parked_at: DateTime<Utc>,
    /// Time of release, if any.
    pub released_at: Option<DateTime<Utc>>,
    /// The series of the invoice number reserved for it, if any.
    pub series_id: Option<i32>,
    /// The reserved number, if any.
    pub number: Option<i64>,
}

/// Parks accounts of a run, including ones released before. A reserved number is kept.
pub async fn insert_all(db: &mut PgConnection, run: Uuid, parked: &[Parked]) -> sqlx::Result<()> {
    if parked.is_empty() {
        return Ok(());
    }
    let roots: Vec<Uuid> = parked.iter().map(|it| it.root_id).collect();
    let reasons: Vec<String> = parked.iter().map(|it| it.reason.clone()).collect();
    let details: Vec<String> = parked.iter().map(|it| it.detail.clone()).collect();
    let times: Vec<DateTime<Utc>> = parked.iter().map(|it| it.parked_at).collect();
    // Zero stands for none; series and numbers start at one.
    let series: Vec<i32> = parked
        .iter()
        .map(|it| it.series_id.unwrap_or_default())
        .collect();
    let numbers: Vec<i64> = parked
        .iter()
        .map(|it| it.number.unwrap_or_default())
        .collect();
    sqlx::query!(
        "-- billing.parked_accounts.insert_all
        INSERT INTO billing.parked_accounts (run_id, root_id, reason, detail, parked_at, series_id, number)
        SELECT $1, root_id, reason, detail, parked_at, NULLIF(series_id, 0), NULLIF(number, 0)
        FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::int[], $7::bigint[])
            AS p (root_id, reason, detail, parked_at, series_id, number)
        ON CONFLICT (run_id, root_id) DO UPDATE
        SET reason = EXCLUDED.reason, detail = EXCLUDED.detail, parked_at = EXCLUDED.parked_at, released_at = NULL,
            series_id = COALESCE(EXCLUDED.series_id, parked_accounts.series_id),
            number = COALESCE(EXCLUDED.number, parked_accounts.number)",
        run,
        &roots,
        &reasons,
        &details,
        &times,
        &series,
        &numbers
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The accounts from `low` to `high` that a run has parked.
pub async fn among(
    db: &mut PgConnection,
    run: Uuid,
    (low, high): (Uuid, Uuid),
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.parked_accounts.among
        SELECT root_id FROM billing.parked_accounts WHERE run_id = $1 AND root_id BETWEEN $2 AND $3",
        run,
        low,
        high
    )
    .fetch_all(db)
    .await
}

/// Releases all parked accounts of a run that will bill no one.
pub async fn release_all(db: &mut PgConnection, run: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.parked_accounts.release_all
        UPDATE billing.parked_accounts SET released_at = $2 WHERE run_id = $1 AND released_at IS NULL",
        run,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A parked account that was not released; locks the row.
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

/// Why an account is parked, unreleased, in a real run of a family that has begun to invoice; `None` if it isn't. What a
/// run that only rates has parked, a closing rates by itself (D23).
pub async fn open(db: &mut PgConnection, family: &str, root: Uuid) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "-- billing.parked_accounts.open
        SELECT p.reason || ', ' || p.detail FROM billing.runs r JOIN billing.parked_accounts p USING (run_id)
        WHERE r.family_code = $1 AND NOT r.dry_run AND r.phase = 'SETTLE' AND p.root_id = $2
          AND p.released_at IS NULL LIMIT 1",
        family,
        root
    )
    .fetch_optional(db)
    .await
    .map(Option::flatten)
}

/// Releases a parked account.
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
