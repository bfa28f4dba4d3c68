//! `billing.run_shards` and `billing.run_chunks`: leases and completed work

use chassis::PgConnection;
use uuid::Uuid;

use crate::domain::run::Phase;

/// A shard leased by this worker. After the lease expires, any worker may take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The run.
    pub run_id: Uuid,
    /// The shard.
    pub shard: i32,
    /// The lease token; every write is conditional on it.
    pub lease_token: Uuid,
    /// The last payer done, if any.
    pub cursor_id: Option<Uuid>,
    /// The number of the next chunk.
    pub next_chunk: i32,
}

/// Leases a free shard of a running run, by the database's clock: the one attempted longest ago, so that a shard that
/// keeps failing holds up no other.
///
/// Concurrent workers get different shards, because locked rows are skipped.
pub async fn lease(db: &mut PgConnection, seconds: i32) -> sqlx::Result<Option<Leased>> {
    sqlx::query_as!(
        Leased,
        r#"-- billing.run_shards.lease
        UPDATE billing.run_shards u
        SET lease_token = gen_random_uuid(), leased_until = clock_timestamp() + make_interval(secs => $1::int),
            last_attempt_at = clock_timestamp()
        FROM (
            SELECT s.run_id, s.shard FROM billing.run_shards s
            JOIN billing.runs r ON r.run_id = s.run_id AND r.state = 'RUNNING'
            WHERE NOT s.done AND s.leased_until <= clock_timestamp()
            ORDER BY s.last_attempt_at NULLS FIRST, s.run_id, s.shard LIMIT 1 FOR UPDATE OF s SKIP LOCKED
        ) free
        WHERE u.run_id = free.run_id AND u.shard = free.shard
        RETURNING u.run_id, u.shard, u.lease_token AS "lease_token!", u.cursor_id, u.next_chunk"#,
        seconds
    )
    .fetch_optional(db)
    .await
}

/// Locks the shard and renews its lease; `false` if another worker has taken it or the run is no longer running, in
/// which case nothing may be written for it.
///
/// An expired lease stays valid until another worker takes the shard, which changes the token.
pub async fn hold(db: &mut PgConnection, held: &Leased, seconds: i32) -> sqlx::Result<bool> {
    let found = sqlx::query!(
        "-- billing.run_shards.hold
        UPDATE billing.run_shards s
        SET leased_until = clock_timestamp() + make_interval(secs => $5::int)
        FROM billing.runs r
        WHERE s.run_id = $1 AND s.shard = $2 AND s.lease_token = $3 AND s.next_chunk = $4 AND NOT s.done
          AND r.run_id = s.run_id AND r.state = 'RUNNING'",
        held.run_id,
        held.shard,
        held.lease_token,
        held.next_chunk,
        seconds
    )
    .execute(db)
    .await?;
    Ok(found.rows_affected() == 1)
}

/// Holds the shard for another lease while work goes on, unless another has taken it: then it says `false`. It does
/// not wait for who writes a chunk: nobody can take the shard from it.
pub async fn renew(db: &mut PgConnection, held: &Leased, seconds: i32) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- billing.run_shards.renew
        WITH renewed AS (
            UPDATE billing.run_shards u
            SET leased_until = clock_timestamp() + make_interval(secs => $4::int)
            FROM (
                SELECT s.run_id, s.shard FROM billing.run_shards s
                WHERE s.run_id = $1 AND s.shard = $2 AND s.lease_token = $3 FOR UPDATE SKIP LOCKED
            ) own
            WHERE u.run_id = own.run_id AND u.shard = own.shard
        )
        SELECT EXISTS (SELECT FROM billing.run_shards
                       WHERE run_id = $1 AND shard = $2 AND lease_token = $3) AS "held!""#,
        held.run_id,
        held.shard,
        held.lease_token,
        seconds
    )
    .fetch_one(db)
    .await
}

/// Locks the shard, moves it past a chunk and renews its lease; `false` if another worker has taken it or the run is
/// no longer running, in which case nothing of the chunk may be kept. This is the first statement of a chunk's
/// transaction. Without a cursor, the next chunk starts where this one did.
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
          AND r.run_id = s.run_id AND r.state = 'RUNNING'",
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

/// Revokes all leases of a run permanently, after waiting for chunks being written.
pub async fn take_away(db: &mut PgConnection, run: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.run_shards.take_away
        UPDATE billing.run_shards SET lease_token = NULL, leased_until = '-infinity' WHERE run_id = $1",
        run
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Releases a shard before its lease expires.
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

/// A completed chunk, or a part of a chunk that the database refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The run.
    pub run_id: Uuid,
    /// The phase of its run.
    pub phase: Phase,
    /// The shard.
    pub shard: i32,
    /// The chunk.
    pub chunk: i32,
    /// The process that completed it.
    pub worker: String,
    /// Payers rated or parked.
    pub account_count: i32,
    /// Invoices issued.
    pub invoice_count: i32,
    /// Lines of those invoices.
    pub line_count: i32,
    /// Total of those invoices in minor units.
    pub total_minor: i64,
    /// Its last payer.
    pub last_id: Uuid,
}

/// Adds a completed chunk. The primary key refuses to add it twice.
pub async fn insert_chunk(db: &mut PgConnection, chunk: &Chunk) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.run_chunks.insert
        INSERT INTO billing.run_chunks (run_id, phase, shard, chunk, worker, account_count, invoice_count, line_count,
                                        total_minor, last_id)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        chunk.run_id,
        chunk.phase.as_str(),
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
