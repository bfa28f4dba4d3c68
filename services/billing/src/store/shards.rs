//! `billing.run_shards` and `billing.run_chunks`: who works on what, and what is done.

use sqlx::PgConnection;
use uuid::Uuid;

/// A shard held by this worker until its lease runs out; after that, anyone may take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The run.
    pub run_id: Uuid,
    /// The shard.
    pub shard: i32,
    /// The token that every effect is conditional on.
    pub lease_token: Uuid,
    /// The last payer that is done.
    pub cursor_id: Option<Uuid>,
    /// The number of the next chunk.
    pub next_chunk: i32,
}

/// Leases a shard of a running run that nobody holds, by the database's clock.
///
/// Workers that call at the same moment get different shards: rows locked by another are skipped.
pub async fn lease(db: &mut PgConnection, seconds: i32) -> sqlx::Result<Option<Leased>> {
    sqlx::query_as!(
        Leased,
        r#"-- billing.run_shards.lease
        UPDATE billing.run_shards u
        SET lease_token = gen_random_uuid(), leased_until = clock_timestamp() + make_interval(secs => $1::int)
        FROM (
            SELECT s.run_id, s.shard FROM billing.run_shards s
            JOIN billing.runs r ON r.run_id = s.run_id AND r.state = 'RUNNING'
            WHERE NOT s.done AND s.leased_until <= clock_timestamp()
            ORDER BY s.run_id, s.shard LIMIT 1 FOR UPDATE OF s SKIP LOCKED
        ) free
        WHERE u.run_id = free.run_id AND u.shard = free.shard
        RETURNING u.run_id, u.shard, u.lease_token AS "lease_token!", u.cursor_id, u.next_chunk"#,
        seconds
    )
    .fetch_optional(db)
    .await
}

/// Moves the shard past a chunk and holds it for another lease; `false` says that the lease was
/// lost, or the run is not running any more: then nothing of the chunk may be kept.
pub async fn advance(
    db: &mut PgConnection,
    held: &Leased,
    cursor: Option<Uuid>,
    done: bool,
    seconds: i32,
) -> sqlx::Result<bool> {
    let moved = sqlx::query!(
        "-- billing.run_shards.advance
        UPDATE billing.run_shards s
        SET cursor_id = coalesce($5, s.cursor_id), next_chunk = s.next_chunk + 1, done = $6,
            leased_until = clock_timestamp() + make_interval(secs => $7::int)
        FROM billing.runs r
        WHERE s.run_id = $1 AND s.shard = $2 AND s.lease_token = $3 AND s.next_chunk = $4 AND NOT s.done
          AND clock_timestamp() < s.leased_until AND r.run_id = s.run_id AND r.state = 'RUNNING'",
        held.run_id,
        held.shard,
        held.lease_token,
        held.next_chunk,
        cursor,
        done,
        seconds
    )
    .execute(db)
    .await?;
    Ok(moved.rows_affected() == 1)
}

/// Gives a shard back before its lease runs out.
pub async fn release(db: &mut PgConnection, held: &Leased) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.run_shards.release
        UPDATE billing.run_shards SET leased_until = '-infinity' WHERE run_id = $1 AND shard = $2 AND lease_token = $3",
        held.run_id,
        held.shard,
        held.lease_token
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What a chunk did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The run.
    pub run_id: Uuid,
    /// RATE or SETTLE.
    pub phase: String,
    /// The shard.
    pub shard: i32,
    /// The chunk.
    pub chunk: i32,
    /// The process that did it.
    pub worker: String,
    /// Payers rated.
    pub account_count: i32,
    /// Invoices made.
    pub invoice_count: i32,
    /// Lines of these.
    pub line_count: i32,
    /// Their sum.
    pub total_minor: i64,
    /// The last payer of it.
    pub last_id: Uuid,
}

/// Notes a chunk; its key refuses a second time.
pub async fn insert_chunk(db: &mut PgConnection, chunk: &Chunk) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.run_chunks.insert
        INSERT INTO billing.run_chunks (run_id, phase, shard, chunk, worker, account_count, invoice_count, line_count,
                                        total_minor, last_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        chunk.run_id,
        chunk.phase,
        chunk.shard,
        chunk.chunk,
        chunk.worker,
        chunk.account_count,
        chunk.invoice_count,
        chunk.line_count,
        chunk.total_minor,
        chunk.last_id
    )
    .execute(db)
    .await?;
    Ok(())
}
