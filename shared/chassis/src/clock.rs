//! Time, as an argument.

use crate::{Database, PgConnection};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use sqlx::AssertSqlSafe;

/// Tells the time. Read once at the edge of a request or a job; the rest takes `now` as a value.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The clock of the machine.
    System,
    /// A clock that stands until it is moved, kept in the schema so that replicas and restarts
    /// share it (D19).
    Standing {
        /// The database of the service.
        db: Database,
        /// The schema of the service.
        schema: &'static str,
    },
}

impl Clock {
    /// The current instant, in whole microseconds: what `timestamptz` can keep.
    pub async fn now(&self) -> sqlx::Result<DateTime<Utc>> {
        match self {
            Self::System => Ok(machine_time()),
            Self::Standing { db, schema } => standing(&mut db.acquire().await?, schema).await,
        }
    }

    /// Like [`Clock::now`], read on a connection that the caller holds already: a transaction that
    /// waited for its locks asks again by this, without waiting for a second connection.
    pub async fn now_on(&self, db: &mut PgConnection) -> sqlx::Result<DateTime<Utc>> {
        match self {
            Self::System => Ok(machine_time()),
            Self::Standing { schema, .. } => standing(db, schema).await,
        }
    }

    /// Moves a standing clock to `to`; `false` when that would take it back, or when it is the
    /// machine's.
    pub async fn set(&self, to: DateTime<Utc>) -> sqlx::Result<bool> {
        match self {
            Self::System => Ok(false),
            Self::Standing { db, schema } => {
                let sql = format!(
                    "-- {schema}.test_clock.set
                    INSERT INTO {schema}.test_clock AS c (only_row, standing_at) VALUES (true, $1)
                    ON CONFLICT (only_row) DO UPDATE SET standing_at = $1 WHERE c.standing_at <= $1"
                );
                let moved = sqlx::query(AssertSqlSafe(sql))
                    .bind(to)
                    .execute(&mut db.acquire().await?)
                    .await?;
                Ok(moved.rows_affected() == 1)
            }
        }
    }
}

/// Where the clock of `schema` stands; the machine's time as long as it was never set.
async fn standing(db: &mut PgConnection, schema: &str) -> sqlx::Result<DateTime<Utc>> {
    let sql = format!("-- {schema}.test_clock.now\nSELECT standing_at FROM {schema}.test_clock");
    let standing = sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_optional(db)
        .await?;
    Ok(standing.unwrap_or_else(machine_time))
}

/// What the machine says, in whole microseconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the clock"
)]
pub(crate) fn machine_time() -> DateTime<Utc> {
    let now = Utc::now();
    now.duration_trunc(TimeDelta::microseconds(1))
        .unwrap_or(now)
}
