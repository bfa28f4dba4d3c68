//! The answers already given: `<schema>.requests` (R7 to R9).

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, PgConnection};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::Owned;

/// What makes two requests one intent.
#[derive(Debug, Clone)]
pub struct Key {
    /// The schema of the service.
    pub schema: &'static str,
    /// Its table of accounts and their roots.
    pub roots: &'static str,
    /// Who sent it.
    pub caller: String,
    /// The account that it is about; empty for none.
    pub account: String,
    /// The method.
    pub method: &'static str,
    /// The caller's id of the intent.
    pub request_id: Uuid,
    /// SHA-256 of the request without its id.
    pub hash: [u8; 32],
}

/// What a request id means to the transaction that brings it.
#[derive(Debug)]
pub enum Begun<T> {
    /// It is new, or a saga of this intent is still under way: do the work, then finish.
    First(T),
    /// It was answered with these bytes.
    Answered(Vec<u8>),
    /// It was refused with this.
    Refused(Box<Status>),
    /// It belongs to another request.
    Reused,
}

/// Hash, response, and the code, message and details of a refusal; then that what follows is audited.
type Row = (
    Vec<u8>,
    Option<Vec<u8>>,
    Option<i32>,
    String,
    Vec<u8>,
    String,
);

/// Takes a request id for this transaction, or tells what became of it.
///
/// A second transaction with the same id waits here until the first one ends, also where the id was
/// taken by a step before: of two that finish one intent, the second finds the answer of the first.
pub async fn begin(
    db: &mut PgConnection,
    key: &Key,
    now: DateTime<Utc>,
) -> sqlx::Result<Begun<()>> {
    let schema = key.schema;
    let taken = sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.begin
        INSERT INTO {schema}.requests (caller, account, method, request_id, request_hash, created_at)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING set_config('audit.on', 'on', true)"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .bind(key.hash.as_slice())
    .bind(now)
    .execute(&mut *db)
    .await?;
    if taken.rows_affected() == 1 {
        return Ok(Begun::First(()));
    }
    let row: Row = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.requests.answer
        SELECT request_hash, response, status_code, status_message, status_details, set_config('audit.on', 'on', true)
        FROM {schema}.requests
        WHERE caller = $1 AND account = $2 AND method = $3 AND request_id = $4 FOR UPDATE"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .fetch_one(db)
    .await?;
    Ok(match row {
        (hash, ..) if hash != key.hash => Begun::Reused,
        (_, Some(response), ..) => Begun::Answered(response),
        (_, None, Some(code), message, details, _) => Begun::Refused(Box::new(
            Status::with_details(Code::from_i32(code), message, details.into()),
        )),
        (_, None, None, ..) => Begun::First(()),
    })
}

/// Keeps the answer of a request id taken in this transaction; the first answer stays.
pub async fn finish(db: &mut PgConnection, key: &Key, response: &[u8]) -> sqlx::Result<()> {
    let schema = key.schema;
    sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.finish
        UPDATE {schema}.requests SET response = $5
        WHERE caller = $1 AND account = $2 AND method = $3 AND request_id = $4
          AND response IS NULL AND status_code IS NULL"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .bind(response)
    .execute(db)
    .await?;
    Ok(())
}

/// Keeps a refusal, unless the intent has been answered meanwhile.
pub async fn refuse(db: &mut PgConnection, key: &Key, status: &Status) -> sqlx::Result<()> {
    let schema = key.schema;
    sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.refuse
        UPDATE {schema}.requests SET status_code = $5, status_message = $6, status_details = $7
        WHERE caller = $1 AND account = $2 AND method = $3 AND request_id = $4
          AND response IS NULL AND status_code IS NULL"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .bind(i32::from(status.code()))
    .bind(status.message())
    .bind(status.details())
    .execute(db)
    .await?;
    Ok(())
}

/// How long an answer is given again.
const KEPT: TimeDelta = TimeDelta::days(30);
/// How many are forgotten at once.
const BATCH: i64 = 1_000;

/// Forgets answers that are not given again any more, as a step of a job; gives how many.
pub async fn forget_answers<C: Owned>(ctx: &C) -> sqlx::Result<usize> {
    let schema = C::SCHEMA;
    let now = ctx.clock().now().await?;
    let gone = sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.forget
        DELETE FROM {schema}.requests WHERE (caller, account, method, request_id) IN (
            SELECT caller, account, method, request_id FROM {schema}.requests
            WHERE created_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"
    )))
    .bind(now - KEPT)
    .bind(BATCH)
    .execute(ctx.db())
    .await?;
    Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
}

/// Forgets every answer that is not given again any more: what an account had is in none from then on.
pub async fn forget_all_answers<C: Owned>(ctx: &C) -> sqlx::Result<()> {
    while 0 < forget_answers(ctx).await? {}
    Ok(())
}
