//! The connection to `PostgreSQL`, and what its errors mean.

use std::error::Error;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor as _, PgPool};

use crate::write::Twin;

/// How long a request may wait for a connection; below every deadline.
pub(crate) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// A pool on `url` for the service `name`, with the timeouts of R17.
///
/// It connects on first use, so that a service starts before its database does. Transactions are
/// only begun in tasks that nobody cancels (`write`, jobs): a BEGIN whose future is dropped leaves
/// the session to the next borrower inside a transaction (transact-rs/sqlx#4393).
pub fn connect(url: &str, name: &str, connections: u32) -> sqlx::Result<PgPool> {
    let options = PgConnectOptions::from_str(url)?
        .application_name(name)
        .options([
            ("statement_timeout", "30s"),
            ("lock_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // Each release is a round trip already; a connection that died is found by its next use.
        .test_before_acquire(false)
        .connect_lazy_with(options);
    Ok(pool)
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
    if matches!(code.as_deref(), Some(code) if code.starts_with("08") || code.starts_with("57P") || code.starts_with("53"))
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

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        (*error).source()
    })
}
