//! `billing.runs`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::domain::run::{Phase, State};

chassis::stored_as_text!(Phase, "billing.runs.phase");
chassis::stored_as_text!(State, "billing.runs.state");

/// A billing run as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub run_id: Uuid,
    /// The family.
    pub family_code: String,
    /// The first day of the period.
    pub period_start: NaiveDate,
    /// The day after the period.
    pub period_end: NaiveDate,
    /// Whether it only rates and settles nothing.
    pub dry_run: bool,
    /// What it does with the months that it rates.
    pub phase: Phase,
    /// Its state.
    pub state: State,
    /// Number of shards.
    pub shard_count: i32,
    /// Number of payers to rate, counted at the start.
    pub expected_count: i64,
    /// The currency.
    pub currency: String,
    /// The catalogue version whose policies apply.
    pub catalogue_version: String,
    /// Payers per chunk, above zero.
    pub chunk_size: i32,
    /// Cut-off: usage received later joins the next period.
    pub cut_off_at: DateTime<Utc>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Completion or cancellation time.
    pub completed_at: Option<DateTime<Utc>>,
    /// The reason given by the operator who cancelled it; empty otherwise.
    pub cancel_reason: String,
}

impl Run {
    /// Whether it has invoiced nobody, and invoices nobody until it is approved: until then a closing may bill the month
    /// of its account, and the run leaves that account out.
    pub fn only_rates(&self) -> bool {
        self.phase == Phase::Rate
    }
}

/// Progress of a run's current phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Completed shards.
    pub done_shards: i64,
    /// Payers rated.
    pub accounts: i64,
    /// Invoices issued, or that would be issued.
    pub invoices: i64,
    /// Lines of those invoices.
    pub lines: i64,
    /// Total of those invoices in minor units.
    pub total_minor: i64,
    /// Accounts parked and not released.
    pub parked: i64,
}

/// Adds a run with its shards; `false` if the family and period have a real run that was not cancelled.
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
        run.phase.as_str(),
        run.state.as_str(),
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
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at, cancel_reason
        FROM billing.runs WHERE run_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The run `id`; locks the row.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.lock
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at, cancel_reason
        FROM billing.runs WHERE run_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// The real run of a family and period that was not cancelled, if any.
pub async fn real(
    db: &mut PgConnection,
    family: &str,
    period_start: NaiveDate,
) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.real
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at, cancel_reason
        FROM billing.runs WHERE family_code = $1 AND period_start = $2 AND NOT dry_run AND state <> 'CANCELLED'",
        family,
        period_start
    )
    .fetch_optional(db)
    .await
}

/// Whether a real run of a family and period was cancelled.
pub async fn was_cancelled(
    db: &mut PgConnection,
    family: &str,
    period_start: NaiveDate,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.runs.was_cancelled
        SELECT EXISTS (SELECT FROM billing.runs
                       WHERE family_code = $1 AND period_start = $2 AND NOT dry_run AND state = 'CANCELLED') AS "cancelled!""#,
        family,
        period_start
    )
    .fetch_one(db)
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
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at, cancel_reason
        FROM billing.runs WHERE ($1::text IS NULL OR family_code = $1) AND ($2::uuid IS NULL OR run_id < $2)
        ORDER BY run_id DESC LIMIT $3",
        family,
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// The progress of a run's current phase.
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
        run.phase.as_str()
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
    state: State,
    completed_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.runs.set_state\nUPDATE billing.runs SET state = $2, completed_at = $3 WHERE run_id = $1",
        id,
        state.as_str(),
        completed_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Cancels a run that has not completed. It can't be resumed.
pub async fn cancel(
    db: &mut PgConnection,
    id: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.runs.cancel
        UPDATE billing.runs SET state = 'CANCELLED', cancel_reason = $2, completed_at = $3 WHERE run_id = $1",
        id,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Starts the settlement phase of an approved run from the first chunk of every shard.
///
/// Accounts parked during rating are tried again, and parked again if they still can't be rated.
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

/// A running run whose shards are all done; locks the row. A run locked by another worker is skipped.
pub async fn lock_finished(db: &mut PgConnection) -> sqlx::Result<Option<Run>> {
    sqlx::query_as!(
        Run,
        "-- billing.runs.lock_finished
        SELECT run_id, family_code, period_start, period_end, dry_run, phase, state, shard_count, expected_count,
               currency, catalogue_version, chunk_size, cut_off_at, created_at, completed_at, cancel_reason
        FROM billing.runs r
        WHERE state = 'RUNNING' AND NOT EXISTS (SELECT FROM billing.run_shards s WHERE s.run_id = r.run_id AND NOT s.done)
        LIMIT 1 FOR UPDATE SKIP LOCKED"
    )
    .fetch_optional(db)
    .await
}

/// The earliest cut-off of the real runs that have not ended. Credit valid at a run's cut-off can still pay its
/// invoices.
pub async fn earliest_cut_off(db: &mut PgConnection) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.runs.earliest_cut_off
        SELECT min(cut_off_at) FROM billing.runs WHERE state NOT IN ('COMPLETED', 'CANCELLED') AND NOT dry_run"
    )
    .fetch_one(db)
    .await
}

/// A month that has ended and is not billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbilled {
    /// Its first day.
    pub month: NaiveDate,
    /// The state of its newest real run; `None` if there is none.
    pub state: Option<State>,
    /// Whether it has been reported as overdue.
    pub noted: bool,
}

/// Up to `limit` months of a family from `from` until before `to` whose real run has not completed, in order.
pub async fn unbilled(
    db: &mut PgConnection,
    family: &str,
    (from, to): (NaiveDate, NaiveDate),
    limit: i64,
) -> sqlx::Result<Vec<Unbilled>> {
    sqlx::query_as!(
        Unbilled,
        r#"-- billing.runs.unbilled
        SELECT m::date AS "month!", r.state AS "state?", o.month IS NOT NULL AS "noted!"
        FROM generate_series($2::date::timestamp, $3::date::timestamp - interval '1 day', interval '1 month') m
        LEFT JOIN LATERAL (
            -- A cancelled run may have been followed by another.
            SELECT state FROM billing.runs
            WHERE family_code = $1 AND period_start = m::date AND NOT dry_run
            ORDER BY run_id DESC LIMIT 1
        ) r ON true
        LEFT JOIN billing.overdue_periods o ON o.family_code = $1 AND o.month = m::date
        WHERE r.state IS DISTINCT FROM 'COMPLETED'
        ORDER BY m LIMIT $4"#,
        family,
        from,
        to,
        limit
    )
    .fetch_all(db)
    .await
}

/// A period not billed within a day of its due time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// The family.
    pub family_code: String,
    /// Its first day.
    pub month: NaiveDate,
    /// Due time of its run.
    pub due_at: DateTime<Utc>,
}

/// Records an overdue period; returns whether it is newly recorded.
pub async fn note_overdue(db: &mut PgConnection, overdue: &Overdue) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.overdue_periods.insert
        INSERT INTO billing.overdue_periods (family_code, month, due_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        overdue.family_code,
        overdue.month,
        overdue.due_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes an overdue period once it is billed.
pub async fn clear_overdue(
    db: &mut PgConnection,
    family: &str,
    month: NaiveDate,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.overdue_periods.delete\nDELETE FROM billing.overdue_periods WHERE family_code = $1 AND month = $2",
        family,
        month
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` overdue periods, of one family or of all, oldest first.
pub async fn overdue(
    db: &mut PgConnection,
    family: Option<&str>,
    limit: i64,
) -> sqlx::Result<Vec<Overdue>> {
    sqlx::query_as!(
        Overdue,
        "-- billing.overdue_periods.list
        SELECT family_code, month, due_at FROM billing.overdue_periods o
        WHERE ($1::text IS NULL OR family_code = $1)
          AND NOT EXISTS (SELECT FROM billing.runs r WHERE r.family_code = o.family_code AND r.period_start = o.month
                            AND NOT r.dry_run AND r.state = 'COMPLETED')
        ORDER BY month, family_code LIMIT $2",
        family,
        limit
    )
    .fetch_all(db)
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
