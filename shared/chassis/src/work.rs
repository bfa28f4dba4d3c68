//! Work queues over rows: the one way in which a job processes rows that are due, shared by all replicas.
//!
//! A [`Queue`] finds rows that are due, claims them in `<schema>.job_claims`, processes them concurrently and records
//! each outcome. A claim is a lease with a token: until it expires no other process gets the row. It is renewed while
//! the row is being processed, however long that takes; a process that has lost its claim stops and records nothing. The claim of a finished row is deleted. A failed row is retried with growing
//! delays and, after [`PARKED_AFTER`] failures, parked with its reason. If another service or the database is
//! unavailable, the row is delayed for a while and never parked. So a failing row never blocks the others, however
//! many fail.
//!
//! The query for due rows must leave out delayed ones, or it would find the same rows first for ever:
//! `NOT EXISTS (SELECT FROM <schema>.job_claims c WHERE c.job = … AND c.key = … AND clock_timestamp() < c.held_until)`.
//! If all rows found are delayed, the step ends instead of looping.
//!
//! What failed and has no row that shows it as due is put aside in the same table with what it takes to try it again:
//! news that could not be processed, mail that could not be delivered. [`Queue::due_aside`] finds it.
//!
//! Operators list what is parked and have it tried again: [`parked_work`], [`retry_parked_work`].

use std::cell::Cell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::{self, Display};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use opentelemetry::{KeyValue, global};
use proto::r#type::v1::ParkedWork;
use sqlx::{AssertSqlSafe, FromRow};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::failure::is_absence;
use crate::trace::traced;
use crate::{Chain, FieldError, Owned, Page, PgConnection, wire};

/// Delay in seconds after the first failure; doubles with each further failure.
const PAUSE: i64 = 5;
/// The longest delay of a row that is not parked.
const PAUSE_MAX: i64 = 3_600;
/// Number of failures, over two and a half hours, after which a row is parked.
const PARKED_AFTER: i32 = 12;
/// How often a parked row is retried.
const PARKED: i64 = 24 * 3_600;
/// The longest delay after another service was unavailable.
const AWAY_MAX: i64 = 30;
/// Number of consecutive times, over almost an hour, for which another service's unavailability is not counted as a
/// failure of the row. If it persists for this row only, the row is likely at fault.
const ABSENCES_MAX: i32 = 100;
/// Maximum stored length of a reason.
const REASON_MAX: usize = 500;
/// How often a step queries again when other processes claimed everything that it found.
const LOOKS: usize = 3;

/// How many items a step claims for each place before it ends, so that a job that is to stop does.
const STEP: usize = 8;
/// How often a step that has free places looks for what has become due.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Work of one kind; the printed form of each item is the key of its row.
#[derive(Debug, Clone, Copy)]
pub struct Queue {
    /// The name of the job.
    pub job: &'static str,
    /// How many items are processed concurrently.
    pub side_by_side: usize,
    /// Seconds after which another process may claim an unfinished item.
    pub lease_seconds: i64,
}

/// An item that was put aside: one that failed and that no row shows as due.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Aside {
    /// What it is known by.
    pub key: String,
    /// What it takes to try it again, besides the key.
    pub input: String,
}

impl Aside {
    /// A change of `account` that a stream told between two resume tokens: read from the first, it is told again. It is
    /// known by its account and its position.
    pub fn change(account: &str, (from, to): (&str, &str)) -> Self {
        let position = to.split('/').nth(2).unwrap_or_default();
        Self {
            key: format!("{account} {position}"),
            input: from.to_owned(),
        }
    }
}

impl Display for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

/// An item claimed by this process.
struct Claim<T> {
    piece: T,
    key: String,
    held: Held,
}

/// The state of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    token: Uuid,
    failures: i32,
    absences: i32,
}

/// The delay of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Delay {
    state: &'static str,
    failures: i32,
    absences: i32,
    seconds: i64,
}

impl Delay {
    /// After its `failures`th failure.
    fn failed(failures: i32) -> Self {
        let parked = PARKED_AFTER <= failures;
        let doublings = u32::try_from(failures - 1).unwrap_or(0).min(12);
        Self {
            state: if parked { "PARKED" } else { "FAILED" },
            failures,
            absences: 0,
            seconds: if parked {
                PARKED
            } else {
                (PAUSE << doublings).min(PAUSE_MAX)
            },
        }
    }

    /// After another service was unavailable for the `absences`th time in a row, which is no failure of the item.
    fn away(failures: i32, absences: i32) -> Self {
        let doublings = u32::try_from(absences).unwrap_or(0).min(12);
        Self {
            state: "AWAY",
            failures,
            absences,
            seconds: (1_i64 << doublings).min(AWAY_MAX),
        }
    }
}

/// The items of a step that are being processed.
#[derive(Default)]
struct Flight {
    items: Cell<usize>,
    /// Tells that one has ended.
    landed: Notify,
    /// Whether an item met an unavailable service or database: no more are claimed.
    met_absence: Cell<bool>,
}

/// The outcome of an item.
enum Ended<E> {
    /// It is done, or it failed and is delayed; there may be more to do.
    Worked,
    /// Another service or the database is unavailable.
    Away(E),
}

/// Storage of claims.
trait Claims {
    /// Claims items for this many seconds; returns those that no other process holds.
    async fn claim(&self, keys: Vec<String>, seconds: i64) -> sqlx::Result<Vec<(String, Held)>>;
    /// Extends a claim to this many seconds from now; `false` if another process holds it.
    async fn renew(&self, key: &str, held: &Held, seconds: i64) -> sqlx::Result<bool>;
    /// Deletes the claim of a finished item.
    async fn done(&self, key: &str, held: &Held) -> sqlx::Result<()>;
    /// Delays an unfinished item, with a reason.
    async fn hold(&self, key: &str, held: &Held, delay: (&Delay, &str)) -> sqlx::Result<()>;
}

impl Queue {
    /// Processes what `due` finds, up to its limit, each item by `one`; returns how many were processed.
    ///
    /// `due` must leave out delayed items. `one` must read its row again and tolerate repetition from any point: each
    /// item has its own transactions.
    ///
    /// # Errors
    /// An error of `due` or of the database. If every item found another service unavailable, the first such error,
    /// so that the job pauses.
    pub async fn work<C, T, E>(
        &self,
        ctx: &C,
        due: impl AsyncFn(i64) -> Result<Vec<T>, E>,
        one: impl AsyncFn(&T) -> Result<(), E>,
    ) -> Result<usize, E>
    where
        C: Owned,
        T: Display,
        E: Error + From<sqlx::Error> + 'static,
    {
        let claims = Stored { ctx, job: self.job };
        self.through(&claims, due, one).await
    }

    async fn through<T, E>(
        &self,
        claims: &impl Claims,
        due: impl AsyncFn(i64) -> Result<Vec<T>, E>,
        one: impl AsyncFn(&T) -> Result<(), E>,
    ) -> Result<usize, E>
    where
        T: Display,
        E: Error + From<sqlx::Error> + 'static,
    {
        let flight = Flight::default();
        let next = |claimed| self.next(claims, (&due, &flight), claimed);
        let claimed =
            stream::try_unfold(0, next).map_ok(|found| stream::iter(found).map(Ok::<_, E>));
        let (one, flight) = (&one, &flight);
        let mut ended = pin!(
            claimed
                .try_flatten()
                .map(|claim| async move { self.ended(claims, claim?, (one, flight)).await })
                .buffer_unordered(self.side_by_side.max(1))
        );
        let (mut worked, mut away, mut failed) = (0, None, None);
        // What has begun is finished, whatever became of the others.
        while let Some(item) = ended.next().await {
            match item {
                Ok(Ended::Worked) => worked += 1,
                Ok(Ended::Away(error)) => away = away.or(Some(error)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (failed, away) {
            (Some(error), _) => Err(error),
            (None, Some(error)) if worked == 0 => Err(error),
            (None, _) => Ok(worked),
        }
    }

    /// Claims items for as many places as are free, and gives how many this step has claimed before the next call; `None`
    /// when the step claims no more.
    ///
    /// One slow item must not keep the places beside it empty: until it ends, what becomes due is looked for again.
    async fn next<T, E>(
        &self,
        claims: &impl Claims,
        (due, flight): (&impl AsyncFn(i64) -> Result<Vec<T>, E>, &Flight),
        claimed: usize,
    ) -> Result<Option<(Vec<Claim<T>>, usize)>, E>
    where
        T: Display,
        E: Error + From<sqlx::Error>,
    {
        let places = self.side_by_side.max(1);
        if STEP * places <= claimed {
            return Ok(None);
        }
        let mut looks = 0;
        loop {
            // A look for each single place would cost more than it gains.
            while places - (places / 4).max(1) < flight.items.get() {
                flight.landed.notified().await;
            }
            if flight.met_absence.get() {
                return Ok(None);
            }
            let free = places - flight.items.get();
            let found = due(i64::try_from(free).unwrap_or(i64::MAX)).await?;
            looks = if found.is_empty() { LOOKS } else { looks + 1 };
            let ours = self.claimed(claims, found).await?;
            if !ours.is_empty() {
                flight.items.set(flight.items.get() + ours.len());
                let claimed = claimed + ours.len();
                return Ok(Some((ours, claimed)));
            }
            if LOOKS <= looks {
                if flight.items.get() == 0 {
                    return Ok(None);
                }
                // Whichever comes first: something may have become due, or all have ended.
                let _ = tokio::time::timeout(LOOK_AGAIN, flight.landed.notified()).await;
            }
        }
    }

    /// The items found that this process has claimed.
    async fn claimed<T: Display>(
        &self,
        claims: &impl Claims,
        found: Vec<T>,
    ) -> sqlx::Result<Vec<Claim<T>>> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut found: BTreeMap<String, T> = found
            .into_iter()
            .map(|piece| (piece.to_string(), piece))
            .collect();
        let keys = found.keys().cloned().collect();
        let held = claims.claim(keys, self.lease_seconds).await?;
        Ok(held
            .into_iter()
            .filter_map(|(key, held)| {
                let piece = found.remove(&key)?;
                Some(Claim { piece, key, held })
            })
            .collect())
    }

    /// Processes one item in its place among the items in flight.
    async fn ended<T, E>(
        &self,
        claims: &impl Claims,
        claim: Claim<T>,
        (one, flight): (&impl AsyncFn(&T) -> Result<(), E>, &Flight),
    ) -> Result<Ended<E>, E>
    where
        E: Error + From<sqlx::Error> + 'static,
    {
        let ended = self.processed(claims, claim, one).await;
        if matches!(ended, Ok(Ended::Away(_)) | Err(_)) {
            flight.met_absence.set(true);
        }
        flight.items.set(flight.items.get().saturating_sub(1));
        flight.landed.notify_one();
        ended
    }

    /// Processes one item and records the outcome.
    async fn processed<T, E>(
        &self,
        claims: &impl Claims,
        claim: Claim<T>,
        one: &impl AsyncFn(&T) -> Result<(), E>,
    ) -> Result<Ended<E>, E>
    where
        E: Error + From<sqlx::Error> + 'static,
    {
        let Claim { piece, key, held } = claim;
        let work = AssertUnwindSafe(traced(self.job, one(&piece))).catch_unwind();
        let done = tokio::select! {
            biased;
            done = work => done,
            () = self.renewed(claims, &key, &held) => return Ok(Ended::Worked),
        };
        let reason = match done {
            Ok(Ok(())) => {
                claims.done(&key, &held).await?;
                return Ok(Ended::Worked);
            }
            Ok(Err(error)) if held.absences < ABSENCES_MAX && is_absence(&error) => {
                let delay = Delay::away(held.failures, held.absences.saturating_add(1));
                let reason = Chain(&error).to_string();
                claims.hold(&key, &held, (&delay, &reason)).await?;
                return Ok(Ended::Away(error));
            }
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_) => "it panicked".to_owned(),
        };
        let delay = Delay::failed(held.failures.saturating_add(1));
        self.tell(&key, &delay, &reason);
        claims.hold(&key, &held, (&delay, &reason)).await?;
        Ok(Ended::Worked)
    }

    /// Renews a claim for ever, and ends when another process holds it.
    async fn renewed(&self, claims: &impl Claims, key: &str, held: &Held) {
        let third = Duration::from_secs(self.lease_seconds.unsigned_abs().max(1)) / 3;
        loop {
            tokio::time::sleep(third).await;
            match claims.renew(key, held, self.lease_seconds).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::warn!(job = self.job, key, "a claim was lost; its work stops");
                    return;
                }
                // The claim may still be ours: the next renewal tells.
                Err(error) => {
                    tracing::warn!(job = self.job, key, error = %Chain(&error), "a claim was not renewed");
                }
            }
        }
    }

    /// Puts an item aside that failed once, in the transaction that gives it up: it is tried again as any other.
    pub async fn put_aside<C: Owned>(
        &self,
        db: &mut PgConnection,
        item: &Aside,
        reason: &str,
    ) -> sqlx::Result<()> {
        let delay = Delay::failed(1);
        self.put::<C>(
            db,
            item,
            (delay.state, delay.failures, Some(delay.seconds)),
            reason,
        )
        .await
    }

    /// Parks an item that failed for good, in the transaction that gives it up: it is tried again on request only.
    pub async fn park<C: Owned>(
        &self,
        db: &mut PgConnection,
        item: &Aside,
        (failures, reason): (i32, &str),
    ) -> sqlx::Result<()> {
        self.put::<C>(db, item, ("PARKED", failures, None), reason)
            .await
    }

    async fn put<C: Owned>(
        &self,
        db: &mut PgConnection,
        item: &Aside,
        (state, failures, seconds): (&str, i32, Option<i64>),
        reason: &str,
    ) -> sqlx::Result<()> {
        let schema = C::SCHEMA;
        let reason: String = reason.chars().take(REASON_MAX).collect();
        sqlx::query(AssertSqlSafe(format!(
            "-- {schema}.job_claims.put_aside
            INSERT INTO {schema}.job_claims (job, key, input, state, token, held_until, failure_count, reason)
            VALUES ($1, $2, $3, $4, $5,
                    coalesce(clock_timestamp() + make_interval(secs => $6::bigint::double precision), 'infinity'),
                    $7, $8)
            ON CONFLICT (job, key) DO UPDATE
            SET input = EXCLUDED.input, state = EXCLUDED.state, token = EXCLUDED.token,
                held_until = EXCLUDED.held_until, failure_count = EXCLUDED.failure_count, absence_count = 0,
                reason = EXCLUDED.reason, failed_at = EXCLUDED.failed_at"
        )))
        .bind(self.job)
        .bind(&item.key)
        .bind(&item.input)
        .bind(state)
        .bind(Uuid::new_v4())
        .bind(seconds)
        .bind(failures)
        .bind(reason)
        .execute(db)
        .await?;
        Ok(())
    }

    /// Up to `limit` items that were put aside and are due, longest waiting first.
    pub async fn due_aside<C: Owned>(&self, ctx: &C, limit: i64) -> sqlx::Result<Vec<Aside>> {
        let schema = C::SCHEMA;
        sqlx::query_as(AssertSqlSafe(format!(
            "-- {schema}.job_claims.due_aside
            SELECT key, input FROM {schema}.job_claims
            WHERE job = $1 AND input IS NOT NULL AND held_until <= clock_timestamp()
            ORDER BY held_until LIMIT $2"
        )))
        .bind(self.job)
        .bind(limit)
        .fetch_all(&mut ctx.db().acquire().await?)
        .await
    }

    /// Logs a failure once for each attempt, and when the item is parked.
    fn tell(&self, key: &str, delay: &Delay, reason: &str) {
        let (job, attempt, seconds) = (self.job, delay.failures, delay.seconds);
        let meter = global::meter("perdiem");
        let labels = [KeyValue::new("job.name", job)];
        meter
            .u64_counter("job.items.failed")
            .with_description("Work items that failed and are tried again after a delay.")
            .build()
            .add(1, &labels);
        if attempt == PARKED_AFTER {
            meter
                .u64_counter("job.items.parked")
                .with_description("Work items parked after repeated failures.")
                .build()
                .add(1, &labels);
            tracing::error!(
                job,
                key,
                attempt,
                reason,
                "work item parked after repeated failures; it is retried once a day"
            );
        } else {
            tracing::warn!(
                job,
                key,
                attempt,
                seconds,
                reason,
                "work item failed; it is retried after a delay"
            );
        }
    }
}

/// The claims of a job, in the database of its service.
struct Stored<'a, C> {
    ctx: &'a C,
    job: &'static str,
}

impl<C: Owned> Claims for Stored<'_, C> {
    async fn claim(&self, keys: Vec<String>, seconds: i64) -> sqlx::Result<Vec<(String, Held)>> {
        let (schema, token) = (C::SCHEMA, Uuid::new_v4());
        // Ordered by key, so that two processes claiming the same rows don't deadlock.
        let rows: Vec<(String, i32, i32)> = sqlx::query_as(AssertSqlSafe(format!(
            "-- {schema}.job_claims.claim
            INSERT INTO {schema}.job_claims AS c (job, key, state, token, held_until)
            SELECT $1, k.key, 'CLAIMED', $3,
                   clock_timestamp() + make_interval(secs => $4::bigint::double precision)
            FROM unnest($2::text[]) AS k (key) ORDER BY k.key
            ON CONFLICT (job, key) DO UPDATE
            SET state = 'CLAIMED', token = EXCLUDED.token, held_until = EXCLUDED.held_until
            WHERE c.held_until <= clock_timestamp()
            RETURNING c.key, c.failure_count, c.absence_count"
        )))
        .bind(self.job)
        .bind(keys)
        .bind(token)
        .bind(seconds)
        .fetch_all(&mut self.ctx.db().acquire().await?)
        .await?;
        let held = |(key, failures, absences)| {
            let held = Held {
                token,
                failures,
                absences,
            };
            (key, held)
        };
        Ok(rows.into_iter().map(held).collect())
    }

    async fn renew(&self, key: &str, held: &Held, seconds: i64) -> sqlx::Result<bool> {
        let schema = C::SCHEMA;
        let renewed = sqlx::query(AssertSqlSafe(format!(
            "-- {schema}.job_claims.renew
            UPDATE {schema}.job_claims
            SET held_until = clock_timestamp() + make_interval(secs => $4::bigint::double precision)
            WHERE job = $1 AND key = $2 AND token = $3"
        )))
        .bind(self.job)
        .bind(key)
        .bind(held.token)
        .bind(seconds)
        .execute(&mut self.ctx.db().acquire().await?)
        .await?;
        Ok(renewed.rows_affected() == 1)
    }

    async fn done(&self, key: &str, held: &Held) -> sqlx::Result<()> {
        let schema = C::SCHEMA;
        sqlx::query(AssertSqlSafe(format!(
            "-- {schema}.job_claims.done
            DELETE FROM {schema}.job_claims WHERE job = $1 AND key = $2 AND token = $3"
        )))
        .bind(self.job)
        .bind(key)
        .bind(held.token)
        .execute(&mut self.ctx.db().acquire().await?)
        .await?;
        Ok(())
    }

    async fn hold(
        &self,
        key: &str,
        held: &Held,
        (delay, reason): (&Delay, &str),
    ) -> sqlx::Result<()> {
        let schema = C::SCHEMA;
        let reason: String = reason.chars().take(REASON_MAX).collect();
        sqlx::query(AssertSqlSafe(format!(
            "-- {schema}.job_claims.hold
            UPDATE {schema}.job_claims
            SET state = $4, failure_count = $5, absence_count = $6, reason = $7, failed_at = clock_timestamp(),
                held_until = clock_timestamp() + make_interval(secs => $8::bigint::double precision)
            WHERE job = $1 AND key = $2 AND token = $3"
        )))
        .bind(self.job)
        .bind(key)
        .bind(held.token)
        .bind(delay.state)
        .bind(delay.failures)
        .bind(delay.absences)
        .bind(reason)
        .bind(delay.seconds)
        .execute(&mut self.ctx.db().acquire().await?)
        .await?;
        Ok(())
    }
}

/// Parked work, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
struct Parked {
    job: String,
    key: String,
    reason: String,
    failure_count: i32,
    failed_at: DateTime<Utc>,
    /// When it is tried again; `None` where only on request.
    retry_at: Option<DateTime<Utc>>,
}

impl Parked {
    /// Its place in the list: when it failed, its job and its key.
    fn place(&self) -> String {
        let at = self.failed_at.timestamp_micros();
        format!("{at}.{}.{}", self.job, self.key)
    }

    fn shown(self) -> ParkedWork {
        ParkedWork {
            job_name: self.job,
            work_id: self.key,
            reason: self.reason,
            failure_count: self.failure_count,
            fail_time: Some(wire::timestamp(self.failed_at)),
            next_attempt_time: self.retry_at.map(wire::timestamp),
        }
    }
}

/// The place in the list that a page token spells.
fn place(text: &str) -> Option<(DateTime<Utc>, String, String)> {
    let (at, rest) = text.split_once('.')?;
    let (job, key) = rest.split_once('.')?;
    let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
    Some((at, job.to_owned(), key.to_owned()))
}

/// A page of parked work, newest first, of one job or of all (empty), and the place of the next page.
///
/// # Errors
/// A malformed field, or an error of the database.
pub async fn parked_work<C, E>(
    ctx: &C,
    job: &str,
    (page_size, page_token): (i32, &str),
) -> Result<(Vec<ParkedWork>, String), E>
where
    C: Owned,
    E: From<FieldError> + From<sqlx::Error>,
{
    let schema = C::SCHEMA;
    let job = wire::optional_code("job_name", job)?;
    let page = Page::read(page_size, page_token)?;
    let (at, of_job, key) = match page.after(place)? {
        Some((at, of_job, key)) => (Some(at), of_job, key),
        None => (None, String::new(), String::new()),
    };
    let found: Vec<Parked> = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.job_claims.parked
        SELECT job, key, reason, failure_count, failed_at,
               CASE WHEN isfinite(held_until) THEN held_until END AS retry_at
        FROM {schema}.job_claims
        WHERE state = 'PARKED' AND ($1::text IS NULL OR job = $1)
          AND ($2::timestamptz IS NULL OR (failed_at, job, key) < ($2, $3::text, $4::text))
        ORDER BY failed_at DESC, job DESC, key DESC LIMIT $5"
    )))
    .bind(job)
    .bind(at)
    .bind(of_job)
    .bind(key)
    .bind(page.size + 1)
    .fetch_all(&mut ctx.db().acquire().await?)
    .await?;
    let (found, last) = page.cut(found);
    let next = last.map(|it| it.place()).unwrap_or_default();
    Ok((found.into_iter().map(Parked::shown).collect(), next))
}

/// Makes parked work due now: its job tries it once more. `None` if it is not parked.
pub async fn retry_parked_work<C: Owned>(
    db: &mut PgConnection,
    job: &str,
    key: &str,
) -> sqlx::Result<Option<ParkedWork>> {
    let schema = C::SCHEMA;
    let retried: Option<Parked> = sqlx::query_as(AssertSqlSafe(format!(
        "-- {schema}.job_claims.retry
        UPDATE {schema}.job_claims SET held_until = clock_timestamp()
        WHERE job = $1 AND key = $2 AND state = 'PARKED'
        RETURNING job, key, reason, failure_count, failed_at, held_until AS retry_at"
    )))
    .bind(job)
    .bind(key)
    .fetch_optional(db)
    .await?;
    Ok(retried.map(Parked::shown))
}

/// A step of a job that deletes claims of items that are no longer due. Items still due are retried, and delayed
/// again, at least once a day. What was put aside stays until it is done; what is tried on request only is given up
/// after three months.
pub(crate) async fn forget_claims<C: Owned>(ctx: &C) -> sqlx::Result<usize> {
    let schema = C::SCHEMA;
    let mut db = ctx.db().acquire().await?;
    let gone = sqlx::query(AssertSqlSafe(format!(
        "-- {schema}.job_claims.forget
        DELETE FROM {schema}.job_claims
        WHERE input IS NULL AND held_until < clock_timestamp() - interval '7 days'
           OR held_until = 'infinity' AND failed_at < clock_timestamp() - interval '90 days'"
    )))
    .execute(&mut db)
    .await?;
    tracing::debug!(count = gone.rows_affected(), "stale claims deleted");
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Instant;

    use tonic::Status;

    use super::*;
    use crate::Refusal;

    /// The errors of an item in these tests.
    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("it does not read")]
        Poison,
        #[error("another service")]
        Peer(#[from] Status),
        #[error("database")]
        Database(#[from] sqlx::Error),
    }

    /// A table with a manual clock.
    #[derive(Default)]
    struct Table {
        now: Cell<i64>,
        rows: RefCell<BTreeMap<String, Row>>,
    }

    #[derive(Clone)]
    struct Row {
        held: Held,
        until: i64,
        state: &'static str,
        reason: String,
    }

    impl Table {
        /// Those of `keys` that are not delayed.
        fn free(&self, keys: &[&'static str], limit: i64) -> Vec<&'static str> {
            let rows = self.rows.borrow();
            let free = |key: &&&str| {
                rows.get(**key)
                    .is_none_or(|row| row.until <= self.now.get())
            };
            let limit = usize::try_from(limit).unwrap();
            keys.iter().filter(free).take(limit).copied().collect()
        }

        fn states(&self) -> Vec<(String, &'static str, i64)> {
            let rows = self.rows.borrow();
            let state = |(key, row): (&String, &Row)| (key.clone(), row.state, row.until);
            rows.iter().map(state).collect()
        }
    }

    impl Claims for Table {
        async fn claim(
            &self,
            keys: Vec<String>,
            seconds: i64,
        ) -> sqlx::Result<Vec<(String, Held)>> {
            let mut rows = self.rows.borrow_mut();
            let mut claimed = Vec::new();
            for key in keys {
                let known = rows.get(&key).cloned();
                if known.as_ref().is_some_and(|row| self.now.get() < row.until) {
                    continue;
                }
                let held = Held {
                    token: Uuid::new_v4(),
                    failures: known.as_ref().map_or(0, |row| row.held.failures),
                    absences: known.as_ref().map_or(0, |row| row.held.absences),
                };
                let row = Row {
                    held: held.clone(),
                    until: self.now.get() + seconds,
                    state: "CLAIMED",
                    reason: String::new(),
                };
                rows.insert(key.clone(), row);
                claimed.push((key, held));
            }
            Ok(claimed)
        }

        async fn renew(&self, key: &str, held: &Held, seconds: i64) -> sqlx::Result<bool> {
            let mut rows = self.rows.borrow_mut();
            let row = rows.get_mut(key).filter(|row| row.held.token == held.token);
            if let Some(row) = row {
                row.until = self.now.get() + seconds;
                return Ok(true);
            }
            Ok(false)
        }

        async fn done(&self, key: &str, held: &Held) -> sqlx::Result<()> {
            let mut rows = self.rows.borrow_mut();
            if rows
                .get(key)
                .is_some_and(|row| row.held.token == held.token)
            {
                rows.remove(key);
            }
            Ok(())
        }

        async fn hold(
            &self,
            key: &str,
            held: &Held,
            (delay, reason): (&Delay, &str),
        ) -> sqlx::Result<()> {
            let mut rows = self.rows.borrow_mut();
            if let Some(row) = rows.get_mut(key)
                && row.held.token == held.token
            {
                row.held.failures = delay.failures;
                row.held.absences = delay.absences;
                row.until = self.now.get() + delay.seconds;
                row.state = delay.state;
                reason.clone_into(&mut row.reason);
            }
            Ok(())
        }
    }

    fn queue(side_by_side: usize) -> Queue {
        Queue {
            job: "test",
            side_by_side,
            lease_seconds: 60,
        }
    }

    #[test]
    fn the_distance_of_tries_grows_until_work_is_parked_and_tried_once_a_day() {
        let seconds: Vec<i64> = (1..=13).map(|it| Delay::failed(it).seconds).collect();
        assert_eq!(
            seconds,
            [
                5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 86_400, 86_400
            ]
        );
        assert_eq!(Delay::failed(11).state, "FAILED");
        assert_eq!(Delay::failed(12).state, "PARKED");
        assert_eq!(Delay::failed(i32::MAX).seconds, 86_400);
        let away: Vec<i64> = (1..=6).map(|it| Delay::away(3, it).seconds).collect();
        assert_eq!(away, [2, 4, 8, 16, 30, 30]);
        assert_eq!(
            Delay::away(3, i32::MAX).failures,
            3,
            "no failure of its own"
        );
    }

    #[test]
    fn what_is_put_aside_is_known_by_its_account_and_its_position() {
        let change = Aside::change("AC1", ("1:5:/5:9:/7/1-1", "1:5:/5:9:/8/1-1"));
        assert_eq!(
            (change.key.as_str(), change.input.as_str()),
            ("AC1 8", "1:5:/5:9:/7/1-1")
        );
        assert_eq!(
            Aside::change("AC1", ("", "1:1:/5:9:/1/1-1")).to_string(),
            "AC1 1"
        );
    }

    #[test]
    fn a_page_goes_on_where_the_one_before_ended() {
        let last = Parked {
            job: "renew".to_owned(),
            key: "a.b c".to_owned(),
            reason: String::new(),
            failure_count: 12,
            failed_at: DateTime::UNIX_EPOCH,
            retry_at: None,
        };
        let read = place(&last.place()).unwrap();
        assert_eq!(read, (last.failed_at, last.job, last.key));
        assert_eq!(place("0.renew"), None);
    }

    #[tokio::test]
    async fn those_that_fail_for_ever_do_not_keep_the_others_waiting() {
        const ALL: [&str; 7] = [
            "bad 1", "bad 2", "bad 3", "good 1", "good 2", "good 3", "panic",
        ];
        let (table, done) = (Table::default(), RefCell::new(Vec::new()));
        let due = async |limit| {
            let left: Vec<_> = ALL
                .into_iter()
                .filter(|key| !done.borrow().contains(key))
                .collect();
            Ok::<_, Fault>(table.free(&left, limit))
        };
        let one = async |key: &&'static str| {
            assert_ne!(*key, "panic", "it panics");
            if key.starts_with("bad") {
                return Err(Fault::Poison);
            }
            done.borrow_mut().push(*key);
            Ok(())
        };
        // The first three, as many as are processed concurrently, fail.
        assert_eq!(queue(3).through(&table, &due, &one).await.unwrap(), 7);
        assert_eq!(done.borrow().len(), 3, "the good ones");
        // Only delayed items are left.
        assert_eq!(queue(3).through(&table, &due, &one).await.unwrap(), 0);
        let failed = |key: &str| (key.to_owned(), "FAILED", 5);
        assert_eq!(
            table.states(),
            ["bad 1", "bad 2", "bad 3", "panic"].map(failed)
        );
        assert_eq!(table.rows.borrow()["bad 1"].reason, "it does not read");
        assert_eq!(table.rows.borrow()["panic"].reason, "it panicked");
    }

    #[tokio::test]
    async fn what_never_succeeds_is_parked_after_a_bound_and_what_does_is_forgotten() {
        let (table, well, done) = (Table::default(), Cell::new(false), Cell::new(false));
        let due = async |limit| {
            let left: &[&str] = if done.get() { &[] } else { &["it"] };
            Ok::<_, Fault>(table.free(left, limit))
        };
        let one = async |_: &&'static str| {
            done.set(well.get());
            if well.get() {
                Ok(())
            } else {
                Err(Fault::Poison)
            }
        };
        for _ in 0..12 {
            table.now.set(table.now.get() + PAUSE_MAX);
            assert_eq!(queue(1).through(&table, &due, &one).await.unwrap(), 1);
        }
        assert_eq!(table.rows.borrow()["it"].state, "PARKED");
        table.now.set(table.now.get() + PARKED - 1);
        assert_eq!(queue(1).through(&table, &due, &one).await.unwrap(), 0);
        table.now.set(table.now.get() + 1);
        well.set(true);
        assert_eq!(queue(1).through(&table, &due, &one).await.unwrap(), 1);
        assert!(table.states().is_empty());
    }

    #[tokio::test]
    async fn a_service_that_is_away_is_no_failure_of_the_work() {
        let (table, answer) = (Table::default(), Cell::new(tonic::Code::Unavailable));
        let due = async |limit| Ok::<_, Fault>(table.free(&["one", "two"], limit));
        let one = async |_: &&'static str| {
            let status = Refusal::new(answer.get(), "A_REASON").into_status("plan", String::new());
            Err::<(), _>(Fault::Peer(status))
        };
        let failed = queue(2).through(&table, &due, &one).await;
        assert!(matches!(failed, Err(Fault::Peer(_))), "the job waits");
        let states = |state, until| ["one", "two"].map(|key| (key.to_owned(), state, until));
        assert_eq!(table.states(), states("AWAY", 2));
        // What is refused is.
        answer.set(tonic::Code::ResourceExhausted);
        table.now.set(2);
        assert_eq!(queue(2).through(&table, &due, &one).await.unwrap(), 2);
        assert_eq!(table.states(), states("FAILED", 7));
    }

    #[tokio::test]
    async fn work_is_done_side_by_side_and_by_one_process_only() {
        const ALL: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
        let (table, done) = (Table::default(), RefCell::new(Vec::new()));
        let due = async |limit| {
            let left: Vec<_> = ALL
                .into_iter()
                .filter(|key| !done.borrow().contains(key))
                .collect();
            Ok::<_, Fault>(table.free(&left, limit))
        };
        let one = async |key: &&'static str| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            done.borrow_mut().push(*key);
            Ok::<_, Fault>(())
        };
        let begun = Instant::now();
        let (first, second) = (queue(3), queue(3));
        let (first, second) = tokio::join!(
            first.through(&table, &due, &one),
            second.through(&table, &due, &one)
        );
        assert_eq!((first.unwrap(), second.unwrap()), (3, 3));
        assert!(begun.elapsed() < Duration::from_millis(300), "side by side");
        let mut done = done.into_inner();
        done.sort_unstable();
        assert_eq!(done, ALL);
    }

    #[tokio::test]
    async fn who_has_lost_a_claim_notes_nothing() {
        let table = Table::default();
        let taken = table.claim(vec!["it".to_owned()], 60).await.unwrap();
        table.now.set(60);
        let over = table.claim(vec!["it".to_owned()], 60).await.unwrap();
        table.done("it", &taken[0].1).await.unwrap();
        assert_eq!(table.states(), [("it".to_owned(), "CLAIMED", 120)]);
        table.done("it", &over[0].1).await.unwrap();
        assert!(table.states().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_lasts_as_long_as_its_work() {
        let (table, done) = (Table::default(), Cell::new(false));
        let due = async |limit| {
            let left: &[&str] = if done.get() { &[] } else { &["it"] };
            Ok::<_, Fault>(table.free(left, limit))
        };
        let one = async |_: &&'static str| {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(30)).await;
                table.now.set(table.now.get() + 30);
                let others = table.claim(vec!["it".to_owned()], 60).await?;
                assert!(others.is_empty(), "after {} s", table.now.get());
            }
            done.set(true);
            Ok::<_, Fault>(())
        };
        assert_eq!(queue(1).through(&table, &due, &one).await.unwrap(), 1);
        assert!(table.states().is_empty(), "it is done");
    }

    #[tokio::test(start_paused = true)]
    async fn work_whose_claim_is_lost_stops() {
        let (table, done) = (Table::default(), Cell::new(false));
        let due = async |limit| Ok::<_, Fault>(table.free(&["it"], limit));
        let one = async |_: &&'static str| {
            // The process was stopped for long, and another one has claimed the row.
            table.now.set(1_000);
            table.claim(vec!["it".to_owned()], 60).await?;
            tokio::time::sleep(Duration::from_hours(1)).await;
            done.set(true);
            Ok::<_, Fault>(())
        };
        assert_eq!(queue(1).through(&table, &due, &one).await.unwrap(), 1);
        assert!(!done.get());
        assert_eq!(table.states(), [("it".to_owned(), "CLAIMED", 1_060)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_item_keeps_no_place_empty_but_its_own() {
        let begun = tokio::time::Instant::now();
        let (table, done) = (Table::default(), RefCell::new(BTreeMap::new()));
        let due = async |limit| {
            let mut left: Vec<_> = ["slow", "a", "b", "c", "d"]
                .into_iter()
                .filter(|key| !done.borrow().contains_key(key))
                .collect();
            if Duration::from_secs(5) < begun.elapsed() && !done.borrow().contains_key("late") {
                left.push("late");
            }
            Ok::<_, Fault>(table.free(&left, limit))
        };
        let one = async |key: &&'static str| {
            let seconds = if *key == "slow" { 30 } else { 1 };
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            done.borrow_mut().insert(*key, begun.elapsed().as_secs());
            Ok::<_, Fault>(())
        };
        assert_eq!(queue(3).through(&table, &due, &one).await.unwrap(), 6);
        let done = done.into_inner();
        assert!(done["d"] <= 3, "{done:?}");
        assert!(done["late"] <= 8, "{done:?}");
        assert_eq!(done["slow"], 30);
    }

    #[tokio::test]
    async fn a_step_ends_though_more_is_due_for_ever() {
        let (table, next) = (Table::default(), Cell::new(0));
        let due = async |limit: i64| {
            let first = next.replace(next.get() + limit);
            Ok::<_, Fault>((first..first + limit).collect::<Vec<i64>>())
        };
        let one = async |_: &i64| Ok::<_, Fault>(());
        let worked = queue(3).through(&table, &due, &one).await.unwrap();
        assert!((24..=27).contains(&worked), "{worked}");
    }
}
