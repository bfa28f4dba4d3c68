//! `billing.runs`

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub run_id: Uuid,
    /// The family.
    pub family_code: String,
    /// The first day of the period.
    pub period_start: NaiveDate,
    /// The day after its last.
    pub period_end: NaiveDate,
    /// Whether it settles nothing.
    pub dry_run: bool,
    /// RATE or SETTLE.
    pub phase: String,
    /// RUNNING, HALTED, `AWAITING_APPROVAL` or COMPLETED.
    pub state: String,
    /// How many shards.
    pub shard_count: i32,
    /// Payers to rate in all, as counted at the start.
    pub expected_count: i64,
    /// The currency.
    pub currency: String,
    /// The catalogue version whose policies bind it.
    pub catalogue_version: String,
    /// Payers in a chunk, above zero.
    pub chunk_size: i32,
    /// Usage received later joins the next period.
    pub cut_off_at: DateTime<Utc>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Shards that are done.
    pub done_shards: i64,
    /// Payers rated.
    pub accounts: i64,
    /// Invoices made, or would be made.
    pub invoices: i64,
    /// Lines of these.
    pub lines: i64,
    /// Their sum.
    pub total_minor: i64,
    /// Accounts parked and not released.
    pub parked: i64,
}

/// Adds a run with its shards; `false` when the real run of its family and period is there already.
pub async fn insert(db: &mut PgConnection, run: &Run) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.runs.insert
        INSERT INTO billing.runs (run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count,
                                  expected_count, currency, catalogue_version, chunk_size, cut_off_at, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING",
        run.run_id,
        run.family_code,
        run.period_start,
        run.period_end,
        run.dry_run,
        run.phase,
        run.state,
        run.shard_count,
        run.expected_count,
        run.currency,
        run.catalogue_version,
        run.chunk_size,
        run.cut_off_at,
        run.created_at
    )
    .execute(&mut *db)
    .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!(
        "-- billing.run_shards.insert
        INSERT INTO billing.run_shards (run_id, shard) SELECT $1, s FROM generate_series(0, $2::int - 1) s",
        run.run_id,
        run.shard_count
    )
    .execute(db)
    .await?;
    Ok(true)
}

/// The run `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.get
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at
        FROM billing.runs WHERE run_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The run `id`, locked.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.lock
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at
        FROM billing.runs WHERE run_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// The real run of a family and period.
pub async fn real(
    db: &mut PgConnection,
    family: &str,
    period_start: NaiveDate,
) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.real
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at
        FROM billing.runs WHERE family_code = $1 AND period_start = $2 AND NOT dry_run",
        family,
        period_start
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` runs before `before`, newest first; of a family or of all.
pub async fn list(
    db: &mut PgConnection,
    family: Option<&str>,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.list
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at
        FROM billing.runs WHERE ($1::text IS NULL OR family_code = $1) AND ($2::uuid IS NULL OR run_id < $2)
        ORDER BY run_id DESC LIMIT $3",
        family,
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// How far the present phase of a run is.
pub async fn progress(db: &mut PgConnection, run: &Run) -> sqlx::Result<Progress> {
    let row = sqlx::query!(
        r#"-- billing.runs.progress
        SELECT (SELECT count(*) FROM billing.run_shards WHERE run_id = $1 AND done) AS "done_shards!",
               coalesce(sum(account_count), 0)::bigint AS "accounts!",
               coalesce(sum(invoice_count), 0)::bigint AS "invoices!",
               coalesce(sum(line_count), 0)::bigint AS "lines!",
               coalesce(sum(total_minor), 0)::bigint AS "total_minor!",
               (SELECT count(*) FROM billing.parked_accounts WHERE run_id = $1 AND released_at IS NULL) AS "parked!"
        FROM billing.run_chunks WHERE run_id = $1 AND phase = $2"#,
        run.run_id,
        run.phase
    )
    .fetch_one(db)
    .await?;
    Ok(Progress {
        done_shards: row.done_shards,
        accounts: row.accounts,
        invoices: row.invoices,
        lines: row.lines,
        total_minor: row.total_minor,
        parked: row.parked,
    })
}

/// Moves a run to another state.
pub async fn set_state(
    db: &mut PgConnection,
    id: Uuid,
    state: &str,
    completed_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.runs.set_state\nUPDATE billing.runs SET state = $2, completed_at = $3 WHERE run_id = $1",
        id,
        state,
        completed_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Begins the settling phase of an approved run, from the first chunk of every shard.
///
/// Accounts parked while rating are tried anew, and parked again if it must be.
pub async fn begin_settling(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!("-- billing.parked_accounts.try_anew\nDELETE FROM billing.parked_accounts WHERE run_id = $1", id)
        .execute(&mut *db)
        .await?;
    sqlx::query!("-- billing.runs.settle\nUPDATE billing.runs SET phase = 'SETTLE', state = 'RUNNING' WHERE run_id = $1", id)
        .execute(&mut *db)
        .await?;
    sqlx::query!(
        "-- billing.run_shards.restart
        UPDATE billing.run_shards
        SET lease_token = NULL, leased_until = '-infinity', cursor_id = NULL, next_chunk = 0, done = false
        WHERE run_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A running run whose shards are all done, locked; others skip it.
pub async fn lock_finished(db: &mut PgConnection) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.lock_finished
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at
        FROM billing.runs r
        WHERE state = 'RUNNING' AND NOT EXISTS (SELECT FROM billing.run_shards s WHERE s.run_id = r.run_id AND NOT s.done)
        LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(db)
    .await
}

/// The earliest cut-off of a real run that has not ended; what was valid then may still be spent.
pub async fn earliest_cut_off(db: &mut PgConnection) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.runs.earliest_cut_off
        SELECT min(cut_off_at) FROM billing.runs WHERE state <> 'COMPLETED' AND NOT dry_run"
    )
    .fetch_one(db)
    .await
}

/// Whether any run is under way.
pub async fn any_running(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.runs.any_running
        SELECT EXISTS (SELECT FROM billing.runs WHERE state = 'RUNNING') AS "any!""#
    )
    .fetch_one(db)
    .await
}
