//! The answers already given: `<schema>.requests` (R7 to R9).
//!
//! Where row-level security is forced, a transaction sees those to the caller that it entered, which beginning a unit
//! of work does, and those about the root account that it entered (D25).

use crate::PgConnection;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, FromRow};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::subject::Subject;
use crate::{NotOpen, Owned, Standing, Tenant, standing};

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
    /// Standings of that account in which the method is refused.
    pub shut: &'static [Standing],
    /// The caller's id of the intent.
    pub request_id: Uuid,
    /// SHA-256 of the request without its id.
    pub hash: [u8; 32],
}

/// Whether work on a request id has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Nothing has been done for it.
    New,
    /// One of its steps has been committed.
    UnderWay,
}

/// What a request id means to the transaction that brings it.
#[derive(Debug)]
pub enum Begun<T> {
    /// It is new, or a saga of this intent is still under way: do the work, then finish.
    First(T),
    /// It has an outcome.
    Done(Done),
    /// It belongs to another request.
    Reused,
}

/// An intent that has no outcome yet.
#[derive(Debug)]
pub struct Taken {
    /// Whether the work on it begins.
    pub start: Start,
    /// Whether the method is open to the account that was looked at (D37); what has begun goes forward.
    pub open: Result<(), NotOpen>,
}

/// What an intent came to.
#[derive(Debug)]
pub struct Done {
    /// The encoded response, or the error.
    pub outcome: Result<Vec<u8>, Box<Status>>,
    /// The permissions that the answer relied on.
    pub asked: Vec<String>,
}

/// What a unit of work begins with besides its request id.
#[derive(Debug, Clone, Copy, Default)]
pub struct With {
    /// Whose rows it sees, where that is known already.
    pub tenant: Option<Tenant>,
    /// The account that does not end before the unit does, where the work begins now (D37).
    pub held: Option<Uuid>,
}

impl Key {
    /// The account that the request names, if it has the form of an account id.
    pub(crate) fn named(&self) -> Option<Uuid> {
        let hex = self.account.strip_prefix("AC")?;
        Uuid::try_parse(hex).ok()
    }

    /// An account that is looked at, where there are standings in which the method is not open.
    fn looks_at(&self, account: Option<Uuid>) -> Option<Uuid> {
        account.filter(|_| !self.shut.is_empty())
    }
}

/// What is known of a request id, and how the account stands that was looked at.
#[derive(FromRow)]
struct Row {
    is_new: bool,
    known_hash: Option<Vec<u8>>,
    known_answer: Option<Vec<u8>>,
    known_code: Option<i32>,
    known_message: Option<String>,
    known_details: Option<Vec<u8>>,
    known_asked: Option<Vec<String>>,
    held_standings: Option<Vec<String>>,
    held_limited_at: Option<DateTime<Utc>>,
}

/// Takes a request id for this transaction, or tells what became of it; from here on what changes is audited.
///
/// A second transaction with the same id waits here until the first one ends, also where the id was
/// taken by a step before: of two that finish one intent, the second finds the answer of the first. The database does
/// it in one round trip: `<schema>.begin_unit`.
pub async fn begin(
    db: &mut PgConnection,
    key: &Key,
    with: With,
    now: DateTime<Utc>,
) -> sqlx::Result<Begun<Taken>> {
    let schema = key.schema;
    let held = key.looks_at(with.held);
    if let Some(tenant) = with.tenant {
        tenant.noted();
    }
    let row: Row = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.requests.begin\nSELECT * FROM {schema}.begin_unit($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .bind(key.hash.as_slice())
    .bind(now)
    .bind(with.tenant.map(Tenant::name))
    .bind(key.named())
    .bind(held)
    .fetch_one(db)
    .await?;
    Ok(outcome(row, key, held, now))
}

/// What became of an intent, without taking its request id, and how an account stands now, in one round trip:
/// `<schema>.known_request`, which enters the caller whose answer is looked for.
pub async fn known(
    db: &mut PgConnection,
    key: &Key,
    account: Option<Uuid>,
    now: DateTime<Utc>,
) -> sqlx::Result<Begun<Taken>> {
    let schema = key.schema;
    let seen = key.looks_at(account);
    let row: Row = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.requests.known\nSELECT * FROM {schema}.known_request($1, $2, $3, $4, $5)"
    )))
    .bind(&key.caller)
    .bind(&key.account)
    .bind(key.method)
    .bind(key.request_id)
    .bind(seen)
    .fetch_one(db)
    .await?;
    Ok(outcome(row, key, seen, now))
}

/// What a stored row says of the intent `key`, and of the account that was looked at.
fn outcome(row: Row, key: &Key, looked_at: Option<Uuid>, now: DateTime<Utc>) -> Begun<Taken> {
    if row.is_new {
        let stands = (row.held_standings.unwrap_or_default(), row.held_limited_at);
        let of = looked_at.map(|account| (account, key.shut));
        return Begun::First(Taken {
            start: Start::New,
            open: of.map_or(Ok(()), |of| standing::open(of, &stands, now)),
        });
    }
    if row.known_hash.unwrap_or_default() != key.hash {
        return Begun::Reused;
    }
    let outcome = match (row.known_answer, row.known_code) {
        (Some(response), _) => Ok(response),
        (None, Some(code)) => Err(Box::new(Status::with_details(
            Code::from_i32(code),
            row.known_message.unwrap_or_default(),
            row.known_details.unwrap_or_default().into(),
        ))),
        (None, None) => {
            return Begun::First(Taken {
                start: Start::UnderWay,
                open: Ok(()),
            });
        }
    };
    Begun::Done(Done {
        outcome,
        asked: row.known_asked.unwrap_or_default(),
    })
}

/// Stores an error as the answer, and what it concerns, unless the request id was answered meanwhile.
pub async fn refuse(
    db: &mut PgConnection,
    key: &Key,
    status: &Status,
    subject: &Subject,
) -> sqlx::Result<()> {
    let schema = key.schema;
    sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.refuse
        UPDATE {schema}.requests
        SET status_code = $5, status_message = $6, status_details = $7, root_id = coalesce(root_id, $8), asked = $9
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
    .bind(subject.root)
    .bind(&subject.asked)
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes every stored answer that concerns a root account or a user, in the transaction that deletes their data. It
/// has entered the root account, or all.
pub async fn forget_answers_about<C: Owned>(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    let schema = C::SCHEMA;
    sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.forget_about\nDELETE FROM {schema}.requests WHERE root_id = $1"
    )))
    .bind(root)
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
    let mut tx = ctx.db().begin_as(Tenant::All).await?;
    let gone = sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.requests.forget
        DELETE FROM {schema}.requests WHERE (caller, account, method, request_id) IN (
            SELECT caller, account, method, request_id FROM {schema}.requests
            WHERE created_at <= $1 ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED)"
    )))
    .bind(now - KEPT)
    .bind(BATCH)
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(usize::try_from(gone.rows_affected()).unwrap_or(usize::MAX))
}

/// Forgets every answer that is not given again any more: what an account had is in none from then on.
pub async fn forget_all_answers<C: Owned>(ctx: &C) -> sqlx::Result<()> {
    while 0 < forget_answers(ctx).await? {}
    Ok(())
}
