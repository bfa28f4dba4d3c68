//! The only access to the database, and what its errors mean (D39).
//!
//! A [`Database`] lends connections. A [`PgConnection`] always knows whether a statement is in progress on it and
//! whether a transaction is open, so that it can be dropped at any point: during a statement it is closed; with an
//! open transaction it is rolled back before it is lent again; otherwise it is returned to the pool as it is, without
//! a round trip. A [`Transaction`] is rolled back unless it is committed, and can't be committed after a statement in
//! it has failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::str::FromStr as _;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use futures::Stream;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use sqlx::error::DatabaseError;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{
    PgConnectOptions, PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo,
};
use sqlx::{AssertSqlSafe, Connection as _, Describe, Either, Execute, Executor, Postgres, SqlStr};
use tokio::sync::Notify;
use tokio::time::Sleep;

use crate::Tenant;
use crate::trace::lent;
use crate::write::Twin;

/// How long the server may be silent while it is waited for: longer than it works on a statement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a request may wait for a connection; below every deadline.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause before a server is asked again whose queue of connections was full.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for the rollback of an abandoned transaction before the connection is closed.
const ROLLBACK_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum age of a connection, so that no session grows old.
const LIFETIME: Duration = Duration::from_mins(30);
/// How long an unused connection stays open.
const IDLE: Duration = Duration::from_mins(5);

/// The database of a service, which lends connections; there is no other way to get one.
#[derive(Clone)]
pub struct Database {
    pool: Pool<Sessions>,
    /// Told after each commit of a transaction in this process that may have written something.
    committed: Arc<Notify>,
}

/// How the connections of a pool are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Occupancy {
    /// The most that there may be.
    pub max: u64,
    /// On loan.
    pub used: u64,
    /// Open and not on loan.
    pub idle: u64,
    /// Callers that wait for one.
    pub waiting: u64,
}

impl Occupancy {
    /// Whether every connection that there may be is on loan.
    pub(crate) const fn is_full(self) -> bool {
        self.max <= self.used
    }
}

/// Opens sessions, and checks each before it is lent again.
struct Sessions {
    options: PgConnectOptions,
}

/// A session of the database and its tracked state.
struct Session {
    raw: sqlx::PgConnection,
    state: State,
}

/// The state of a session, tracked from the messages sent and received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    progress: Progress,
    block: Block,
}

/// Progress of the last statement of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Its answer has been read completely.
    Idle,
    /// It was sent, and its answer has not been read completely.
    Busy,
    /// The connection is lost, or the server's message can't be parsed.
    Lost,
}

/// Transaction status of a session, as PostgreSQL reports it: idle, in a transaction block, or in a failed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    /// No transaction is open.
    Idle,
    /// A transaction is open, or `BEGIN` was sent.
    Open,
    /// A statement failed in the transaction: PostgreSQL rolls it back even on `COMMIT`.
    Failed,
}

impl State {
    /// Nothing is in progress, so that the next borrower inherits nothing from the last one.
    const CLEAN: Self = Self {
        progress: Progress::Idle,
        block: Block::Idle,
    };

    /// Records how a statement ended.
    fn ended<T>(&mut self, result: &sqlx::Result<T>) {
        match result {
            Ok(_) => self.progress = Progress::Idle,
            // The whole answer was read; it was an error.
            Err(sqlx::Error::Database(error)) if !is_farewell(error.as_ref()) => {
                self.progress = Progress::Idle;
                if self.block == Block::Open {
                    self.block = Block::Failed;
                }
            }
            Err(_) => self.progress = Progress::Lost,
        }
    }
}

/// PostgreSQL has ended the session for being idle too long.
const IDLE_TOO_LONG: [&str; 2] = ["25P03", "25P04"];

/// Whether PostgreSQL ends the session after this error.
fn is_farewell(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else {
        return false;
    };
    code.starts_with("57P") || code.starts_with("08") || IDLE_TOO_LONG.contains(&code.as_ref())
}

impl deadpool::managed::Manager for Sessions {
    type Type = Session;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<Session> {
        loop {
            match sqlx::PgConnection::connect_with(&self.options).await {
                // A Unix socket whose queue is full refuses at once, where TCP would wait. The pool's timeout ends this.
                Err(sqlx::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(QUEUE_PAUSE).await;
                }
                Err(error) => return Err(error),
                Ok(raw) => {
                    return Ok(Session {
                        raw,
                        state: State::CLEAN,
                    });
                }
            }
        }
    }

    async fn recycle(
        &self,
        session: &mut Session,
        metrics: &Metrics,
    ) -> RecycleResult<sqlx::Error> {
        if session.state != State::CLEAN {
            return Err(RecycleError::message("the session is still busy"));
        }
        if LIFETIME <= metrics.age() {
            return Err(RecycleError::message("old"));
        }
        Ok(())
    }
}

/// The database at `url` for the service `name`, with the timeouts of R17 and at most so many connections.
///
/// Connections are opened on first use, so that a service can start before its database does. The one that was used
/// last is lent first: its plans are made, its process is in the caches of the machine, and those that a busy time left
/// over are closed.
pub fn connect(url: &str, name: &str, connections: u32) -> sqlx::Result<Database> {
    let options = PgConnectOptions::from_str(url)?
        .application_name(name)
        .options([
            ("statement_timeout", "30s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "5s"),
        ]);
    let pool = Pool::builder(Sessions { options })
        .max_size(usize::try_from(connections).unwrap_or(usize::MAX))
        .queue_mode(QueueMode::Lifo)
        .wait_timeout(Some(ACQUIRE_TIMEOUT))
        .create_timeout(Some(ACQUIRE_TIMEOUT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| sqlx::Error::Configuration(error.into()))?;
    Ok(Database {
        pool,
        committed: Arc::default(),
    })
}

impl Database {
    /// A connection for single statements, each of which is its own transaction.
    pub async fn acquire(&self) -> sqlx::Result<PgConnection> {
        let span = lent();
        match self.pool.get().await {
            Ok(session) => Ok(PgConnection {
                session: Some(session),
                _span: span,
            }),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Closed) => Err(sqlx::Error::PoolClosed),
            Err(
                PoolError::Timeout(_)
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_),
            ) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// A read-committed transaction: each statement sees what was committed before it.
    pub async fn begin(&self) -> sqlx::Result<Transaction> {
        self.writing("BEGIN".to_owned()).await
    }

    /// Like [`Database::begin`], for the rows of `tenant`, in the same round trip.
    pub async fn begin_as(&self, tenant: Tenant) -> sqlx::Result<Transaction> {
        self.writing(format!("BEGIN; {}", tenant.sql())).await
    }

    /// Like [`Database::begin`], for statements with thousands of keys each, in the same round trip: a plan is made
    /// once a session, for any keys.
    ///
    /// A plan for the very keys of a statement, as each session makes for its first executions, takes longer to make
    /// and reads the whole table where that seems cheaper than an index. What a batch costs would grow with what the
    /// table holds of others.
    pub async fn begin_batch(&self) -> sqlx::Result<Transaction> {
        self.writing(BATCH.to_owned()).await
    }

    /// A read-only transaction with one snapshot for all its statements.
    pub async fn snapshot(&self) -> sqlx::Result<Transaction> {
        self.opened(SNAPSHOT.to_owned()).await
    }

    /// Like [`Database::snapshot`], for the rows of `tenant`, in the same round trip.
    pub async fn snapshot_as(&self, tenant: Tenant) -> sqlx::Result<Transaction> {
        self.opened(format!("{SNAPSHOT}; {}", tenant.sql())).await
    }

    async fn opened(&self, sql: String) -> sqlx::Result<Transaction> {
        let mut connection = self.acquire().await?;
        connection.session()?.state.block = Block::Open;
        connection.simple(sql).await?;
        Ok(Transaction {
            connection,
            committed: None,
        })
    }

    /// A transaction of whose commit is told.
    async fn writing(&self, sql: String) -> sqlx::Result<Transaction> {
        let opened = self.opened(sql).await?;
        Ok(Transaction {
            committed: Some(self.committed.clone()),
            ..opened
        })
    }

    /// Says that a transaction of this process that may write has committed: there may be news in it, or work.
    pub fn committed(&self) -> &Notify {
        &self.committed
    }

    /// How its connections are used.
    pub(crate) fn occupancy(&self) -> Occupancy {
        let status = self.pool.status();
        let count = |it| u64::try_from(it).unwrap_or(u64::MAX);
        Occupancy {
            max: count(status.max_size),
            used: count(status.size.saturating_sub(status.available)),
            idle: count(status.available.min(status.size)),
            waiting: count(status.waiting),
        }
    }

    /// The newest migration that has succeeded, as `table` records it; 0 if there is none.
    pub(crate) async fn schema_version(&self, table: &str) -> sqlx::Result<i64> {
        let newest = sqlx::query_scalar(AssertSqlSafe(format!(
            "-- {table}.newest\nSELECT coalesce(max(version), 0) FROM {table} WHERE success"
        )))
        .fetch_one(&mut self.acquire().await?)
        .await;
        match newest {
            // 42P01: there is no such table. 3F000: nor its schema.
            Err(error) if matches!(database_code(&error).as_deref(), Some("42P01" | "3F000")) => {
                Ok(0)
            }
            newest => newest,
        }
    }

    /// Closes connections that have not been used for a while.
    pub(crate) fn shrink(&self) {
        self.pool.retain(|_, metrics| metrics.last_used() < IDLE);
    }
}

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
const BATCH: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan";

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("pool", &self.pool.status())
            .finish_non_exhaustive()
    }
}

/// A connection on loan. It executes statements as sqlx's own connection does.
pub struct PgConnection {
    /// `None` only while the connection is being dropped.
    session: Option<Object<Sessions>>,
    /// Ends with the loan.
    _span: tracing::Span,
}

impl PgConnection {
    fn session(&mut self) -> sqlx::Result<&mut Session> {
        self.session.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Sends statements without parameters in one message, and waits until the last has ended.
    async fn simple(&mut self, sql: String) -> sqlx::Result<()> {
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *self)
            .await?;
        Ok(())
    }

    /// Sets a savepoint for [`PgConnection::rollback_to_savepoint`]. Savepoints do not nest: only the newest counts.
    pub async fn savepoint(&mut self) -> sqlx::Result<()> {
        self.simple("SAVEPOINT part".to_owned()).await
    }

    /// Undoes everything since the savepoint, including a failed statement.
    pub async fn rollback_to_savepoint(&mut self) -> sqlx::Result<()> {
        self.simple("ROLLBACK TO SAVEPOINT part".to_owned()).await?;
        self.session()?.state.block = Block::Open;
        Ok(())
    }

    /// Copies `rows`, in the format that `statement` (`COPY … FROM STDIN`) specifies; returns their number.
    pub async fn copy_in(&mut self, statement: &str, rows: Vec<u8>) -> sqlx::Result<u64> {
        let Session { raw, state } = self.session()?;
        state.progress = Progress::Busy;
        let copied = answered(async {
            let mut copy = raw.copy_in_raw(statement).await?;
            copy.send(rows).await?;
            copy.finish().await
        })
        .await;
        state.ended(&copied);
        copied
    }
}

impl fmt::Debug for PgConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgConnection")
            .field("state", &self.session.as_deref().map(|it| it.state))
            .finish_non_exhaustive()
    }
}

/// Returns, rolls back or closes a session when its borrower drops it.
impl Drop for PgConnection {
    fn drop(&mut self) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        let State { progress, block } = session.state;
        if progress == Progress::Lost
            && let Some(pool) = Object::pool(&session)
        {
            // Idle connections were opened to the same server, so they are closed too.
            pool.retain(|_, _| false);
        }
        if progress != Progress::Idle {
            drop(Object::take(session));
            return;
        }
        if block == Block::Idle {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            drop(Object::take(session));
            return;
        };
        runtime.spawn(async move {
            let rolled_back = tokio::time::timeout(ROLLBACK_TIMEOUT, session.rolled_back()).await;
            if !matches!(rolled_back, Ok(Ok(()))) {
                drop(Object::take(session));
            }
        });
    }
}

impl Session {
    async fn rolled_back(&mut self) -> sqlx::Result<()> {
        self.raw.execute("ROLLBACK").await?;
        self.state = State::CLEAN;
        Ok(())
    }
}

impl<'c> Executor<'c> for &'c mut PgConnection {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, sqlx::Result<Either<PgQueryResult, PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        match self.session() {
            Ok(Session { raw, state }) => {
                state.progress = Progress::Busy;
                Box::pin(Watched {
                    answer: raw.fetch_many(query),
                    state,
                    silence: None,
                })
            }
            Err(error) => Box::pin(futures::stream::iter([Err(error)])),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, sqlx::Result<Option<PgRow>>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(async move {
            let Session { raw, state } = self.session()?;
            state.progress = Progress::Busy;
            let row = answered(raw.fetch_optional(query)).await;
            state.ended(&row);
            row
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, sqlx::Result<PgStatement>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let Session { raw, state } = self.session()?;
            state.progress = Progress::Busy;
            let prepared = answered(raw.prepare_with(sql, parameters)).await;
            state.ended(&prepared);
            prepared
        })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, sqlx::Result<Describe<Postgres>>>
    where
        'c: 'e,
    {
        Box::pin(async move {
            let Session { raw, state } = self.session()?;
            state.progress = Progress::Busy;
            let described = answered(raw.describe(sql)).await;
            state.ended(&described);
            described
        })
    }
}

/// The end of a wait for the server: a server that is gone without a word answers nothing, and neither does the system
/// for a quarter of an hour.
async fn answered<T>(answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
    answer.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> sqlx::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the database does not answer").into()
}

/// The answer to a statement; records the session's state as it is read.
struct Watched<'e, T> {
    answer: BoxStream<'e, sqlx::Result<T>>,
    state: &'e mut State,
    /// Runs while the server is waited for, not while the reader works on what it has read.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<T> Stream for Watched<'_, T> {
    type Item = sqlx::Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut next = self.answer.as_mut().poll_next(cx);
        if next.is_ready() {
            self.silence = None;
        } else {
            let silence = self
                .silence
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(ANSWER_TIMEOUT)));
            if silence.as_mut().poll(cx).is_ready() {
                next = Poll::Ready(Some(Err(no_answer())));
            }
        }
        match &next {
            Poll::Ready(None) => self.state.ended(&Ok(())),
            Poll::Ready(Some(failed @ Err(_))) => self.state.ended(failed),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        next
    }
}

/// A transaction, which is rolled back when dropped.
#[derive(Debug)]
pub struct Transaction {
    connection: PgConnection,
    /// Told of its commit; `None` where it only reads.
    committed: Option<Arc<Notify>>,
}

impl Transaction {
    /// Commits.
    ///
    /// # Errors
    /// The database's error. Also if a statement in the transaction has failed, since PostgreSQL would silently roll
    /// back on `COMMIT`.
    pub async fn commit(mut self) -> sqlx::Result<()> {
        if self.connection.session()?.state.block == Block::Failed {
            return Err(sqlx::Error::Protocol(
                "the transaction can't be committed because a statement in it failed".to_owned(),
            ));
        }
        self.connection.simple("COMMIT".to_owned()).await?;
        self.connection.session()?.state.block = Block::Idle;
        if let Some(committed) = &self.committed {
            committed.notify_waiters();
        }
        Ok(())
    }

    /// Rolls back, and waits until the rollback has ended.
    pub async fn rollback(mut self) -> sqlx::Result<()> {
        self.connection.session()?.rolled_back().await
    }
}

impl Deref for Transaction {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
/// Brings the schema up to date, as its owner.
pub async fn migrate(url: &str, migrator: &Migrator) -> Result<(), MigrateError> {
    let options = PgConnectOptions::from_str(url)?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await?;
    pool.execute("SET lock_timeout = '2s'").await?;
    migrator.run(&pool).await?;
    pool.close().await;
    Ok(())
}

/// Whether the same unit of work may succeed when run again: a deadlock, a serialization failure
/// or a twin that was first, somewhere among the causes of `error`.
pub fn retryable(error: &(dyn Error + 'static)) -> bool {
    let code = database_code(error);
    matches!(code.as_deref(), Some("40001" | "40P01")) || causes(error).any(<dyn Error>::is::<Twin>)
}

/// Whether a lock was waited for too long, or a statement was cancelled by its timeout.
pub(crate) fn timed_out(error: &(dyn Error + 'static)) -> bool {
    let code = database_code(error);
    matches!(code.as_deref(), Some("55P03" | "57014"))
}

/// Whether the database was away: refused, closed, shutting down or out of connections.
pub(crate) fn unreachable(error: &(dyn Error + 'static)) -> bool {
    let code = database_code(error);
    if matches!(code.as_deref(), Some(code) if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53") || IDLE_TOO_LONG.contains(&code))
    {
        return true;
    }
    causes(error).any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(
                sqlx::Error::Io(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::Tls(_)
            )
        )
    })
}

/// Whether a statement was refused for its values, which are out of range or violate a constraint: a retry would be
/// refused, too.
pub(crate) fn refuses_values(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(DatabaseError::code);
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// The name of the constraint that a statement violated.
pub fn violated_constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.constraint()
}

/// Whether a statement violated the constraint `name`.
pub fn is_violation_of(error: &sqlx::Error, name: &str) -> bool {
    violated_constraint(error) == Some(name)
}

fn database_code(error: &(dyn Error + 'static)) -> Option<String> {
    causes(error).find_map(|cause| {
        let code = cause
            .downcast_ref::<sqlx::Error>()?
            .as_database_error()?
            .code()?;
        Some(code.into_owned())
    })
}

/// An error and its causes, the root cause last.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    /// Whether an error says that the server does not answer.
    fn is_silence(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Io(it) if it.kind() == io::ErrorKind::TimedOut)
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_gone_without_a_word_is_not_waited_for() {
        let mut state = State::CLEAN;
        // A row, then nothing; its reader takes a minute for the row, which is no silence of the server.
        let rows = futures::stream::iter([Ok(1)]).chain(futures::stream::pending());
        let mut answer = Watched {
            answer: Box::pin(rows),
            state: &mut state,
            silence: None,
        };
        assert!(matches!(answer.next().await, Some(Ok(1))));
        tokio::time::sleep(Duration::from_mins(1)).await;
        let begun = tokio::time::Instant::now();
        let next = answer.next().await;
        assert!(matches!(next, Some(Err(error)) if is_silence(&error)));
        assert!(begun.elapsed() < ANSWER_TIMEOUT + Duration::from_secs(1));
        drop(answer);
        // It is closed, and with it those that were opened to the same server.
        assert_eq!(state.progress, Progress::Lost);

        let waited: sqlx::Result<()> = answered(std::future::pending()).await;
        assert!(is_silence(&waited.unwrap_err()));
    }
}
