//! The unit of work: what changes something, as one transaction and one answer.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{PgPool, PgTransaction};
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use crate::audit;
use crate::crash::crash_point_of;
use crate::requests::{self, Begun, Key};
use crate::{Anchors, Caller, Chain, Clock, Refusal, Trip, database, field_error, internal};

/// How often a unit of work is run before its caller is told to try again.
const ATTEMPTS: u32 = 4;

/// What a service's context offers to [`write`].
pub trait Owned: Clone + Send + Sync + 'static {
    /// The schema of the service.
    const SCHEMA: &'static str;
    /// Its table of accounts and their roots.
    const ROOTS: &'static str;
    /// Its database.
    fn db(&self) -> &PgPool;
    /// Its clock.
    fn clock(&self) -> &Clock;
    /// Where the newest entries of its audit go to.
    fn anchors(&self) -> &Anchors;
}

/// A request that changes something, with who sent it and when.
#[derive(Debug, Clone)]
pub struct Call<M> {
    /// The request.
    pub message: M,
    /// Who sent it.
    pub caller: Caller,
    /// When the work on it began.
    pub now: DateTime<Utc>,
    key: Key,
}

/// A transaction that has taken a request id; dropped, it has done nothing.
pub struct Unit {
    /// The transaction.
    pub tx: PgTransaction<'static>,
    key: Key,
    now: DateTime<Utc>,
    about: Option<Uuid>,
}

impl<M> Call<M> {
    /// Begins the unit of work, or tells what became of the intent.
    pub async fn begin(&self, db: &PgPool) -> sqlx::Result<Begun<Unit>> {
        let mut tx = db.begin().await?;
        Ok(match requests::begin(&mut tx, &self.key, self.now).await? {
            Begun::First(()) => Begun::First(Unit {
                tx,
                key: self.key.clone(),
                now: self.now,
                about: None,
            }),
            Begun::Answered(bytes) => Begun::Answered(bytes),
            Begun::Refused(status) => Begun::Refused(status),
            Begun::Reused => Begun::Reused,
        })
    }

    /// A UUID derived from this intent: the same on every retry, for rows and calls made by it.
    pub fn derived_id(&self, what: &str) -> Uuid {
        let name = format!(
            "{}/{}/{}/{what}",
            self.key.caller, self.key.method, self.key.account
        );
        Uuid::new_v5(&self.key.request_id, name.as_bytes())
    }
}

/// Another try of the same intent was first; run again, it finds the answer.
#[derive(Debug, thiserror::Error)]
#[error("another try of the same intent was first")]
pub struct Twin;

impl<M> Call<M> {
    /// Begins the next step of a saga.
    pub async fn step<E: From<sqlx::Error> + From<Twin>>(&self, db: &PgPool) -> Result<Unit, E> {
        match self.begin(db).await? {
            Begun::First(unit) => Ok(unit),
            Begun::Answered(_) | Begun::Refused(_) | Begun::Reused => Err(Twin.into()),
        }
    }
}

impl Unit {
    /// Names the root account whose audit tells of this, where neither the request nor the tenant does.
    pub const fn about(&mut self, root: Uuid) {
        self.about = Some(root);
    }

    /// Keeps `response` as the answer of the intent and commits.
    pub async fn commit<R: prost::Message>(mut self, response: R) -> sqlx::Result<R> {
        requests::finish(&mut self.tx, &self.key, &response.encode_to_vec()).await?;
        self.committed(("before", "after")).await?;
        Ok(response)
    }

    /// Commits without an answer: the first step of a saga, whose retry goes on with it.
    pub async fn commit_step(self) -> sqlx::Result<()> {
        self.committed(("step.before", "step.after")).await
    }

    async fn committed(mut self, (before, after): (&str, &str)) -> sqlx::Result<()> {
        audit::append(&mut self.tx, &self.key, self.about, self.now).await?;
        let Key { schema, method, .. } = self.key;
        crash_point_of(schema, method, before);
        self.tx.commit().await?;
        crash_point_of(schema, method, after);
        Ok(())
    }
}

/// Runs `handle` in a task of its own and waits for it: a caller that goes away stops nothing
/// (R18). Serialization failures are run again; the answer or the business refusal of an intent
/// is given again to each repetition of it, byte for byte.
pub async fn write<C, M, R, E, F>(
    ctx: &C,
    request: Request<M>,
    handle: impl Fn(C, Call<M>, Unit) -> F + Send + 'static,
) -> Result<Response<R>, Status>
where
    C: Owned,
    M: proto::Mutation,
    R: prost::Message + Default + 'static,
    E: Error + Into<Status> + From<sqlx::Error> + Send + 'static,
    F: Future<Output = Result<R, E>> + Send,
{
    let caller = request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(internal)?;
    let message = request.into_inner();
    let request_id = request_id(&message)?;
    let mut bare = message.clone();
    bare.clear_request_id();
    let key = Key {
        schema: C::SCHEMA,
        roots: C::ROOTS,
        caller: caller.to_string(),
        account: scope(message.account_scope()),
        method: M::METHOD,
        request_id,
        hash: Sha256::digest(bare.encode_to_vec()).into(),
    };
    let ctx = ctx.clone();
    let work = async move {
        let now = ctx
            .clock()
            .now()
            .await
            .map_err(|error| database_status(&error))?;
        let call = Call {
            message,
            caller,
            now,
            key,
        };
        attempts(&ctx, &call, handle).await
    };
    detached(work).await.map(Response::new)
}

/// Like [`write`], for work that asks other services: `handle` begins each of its steps by
/// [`Call::step`], so that no transaction is open while it waits.
pub async fn saga<C, M, R, E, F>(
    ctx: &C,
    request: Request<M>,
    handle: impl Fn(C, Call<M>) -> F + Send + Sync + 'static,
) -> Result<Response<R>, Status>
where
    C: Owned,
    M: proto::Mutation,
    R: prost::Message + Default + 'static,
    E: Error + Into<Status> + From<sqlx::Error> + Send + 'static,
    F: Future<Output = Result<R, E>> + Send,
{
    write(ctx, request, move |ctx, call, unit| {
        // The unit has told that the intent is not answered yet, and has done nothing.
        drop(unit);
        handle(ctx, call)
    })
    .await
}

/// Runs `work` in a task of its own and waits for it: a caller that goes away stops nothing (R18).
pub async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let trip = Trip::current();
    let (tell, told) = oneshot::channel();
    let work = async move {
        let done = match trip {
            Some(trip) => trip.scope(work).await,
            None => work.await,
        };
        // Nobody waits for it where the caller has left.
        let _ = tell.send(done);
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "waited for at once; the caller may leave, the work may not"
    )]
    tokio::spawn(tracing::Instrument::in_current_span(work.boxed()));
    // A panic in it was logged by the hook; the caller learns nothing of it.
    told.await.map_err(|_| internal())?
}

/// The account that a request is about, as far as it can be one: what cannot is refused later.
fn scope(sent: &str) -> String {
    let plain = sent.len() <= 64 && sent.bytes().all(|b| b.is_ascii_alphanumeric());
    if plain {
        sent.to_owned()
    } else {
        String::new()
    }
}

async fn attempts<C, M, R, E, F>(
    ctx: &C,
    call: &Call<M>,
    handle: impl Fn(C, Call<M>, Unit) -> F,
) -> Result<R, Status>
where
    C: Owned,
    M: proto::Mutation,
    R: prost::Message + Default,
    E: Error + Into<Status> + From<sqlx::Error> + 'static,
    F: Future<Output = Result<R, E>>,
{
    for attempt in 1..=ATTEMPTS {
        let unit = match call.begin(ctx.db()).await {
            Ok(Begun::First(unit)) => unit,
            Ok(Begun::Answered(bytes)) => {
                return R::decode(bytes.as_slice()).map_err(|error| {
                    tracing::error!(error = %Chain(&error), "a stored answer does not decode");
                    internal()
                });
            }
            Ok(Begun::Refused(status)) => return Err(*status),
            Ok(Begun::Reused) => {
                return Err(Refusal::invalid("REQUEST_ID_REUSED")
                    .with("requestId", call.key.request_id)
                    .with_fields(&[field_error(
                        "request_id",
                        "an id not used for another request",
                    )])
                    .into_status(
                        "perdiem",
                        "request_id was used for another request".to_owned(),
                    ));
            }
            Err(error) if database::retryable(&error) => {
                pause(attempt).await;
                continue;
            }
            Err(error) => return Err(database_status(&error)),
        };
        match handle(ctx.clone(), call.clone(), unit).await {
            Ok(response) => return Ok(response),
            Err(error) if database::retryable(&error) => pause(attempt).await,
            Err(error) => {
                if database::unreachable(&error) || database::timed_out(&error) {
                    return Err(database_status(&error));
                }
                let status = error.into();
                return if is_final(status.code()) {
                    refused(ctx, call, status).await
                } else {
                    Err(status)
                };
            }
        }
    }
    Err(Refusal::new(Code::Aborted, "CONFLICT")
        .retry_after(Duration::from_millis(100))
        .into_status(
            "perdiem",
            "others changed the same thing; try again".to_owned(),
        ))
}

/// Keeps a refusal as the answer of its intent, and gives what is kept: a twin may have been first.
async fn refused<C: Owned, M, R: prost::Message + Default>(
    ctx: &C,
    call: &Call<M>,
    status: Status,
) -> Result<R, Status> {
    let kept = async {
        let mut tx = ctx.db().begin().await?;
        let begun = requests::begin(&mut tx, &call.key, call.now).await?;
        if matches!(begun, Begun::First(())) {
            requests::refuse(&mut tx, &call.key, &status).await?;
            tx.commit().await?;
        }
        Ok::<_, sqlx::Error>(begun)
    };
    match kept.await {
        Ok(Begun::Answered(bytes)) => R::decode(bytes.as_slice()).map_err(|_| internal()),
        Ok(Begun::Refused(first)) => Err(*first),
        Ok(Begun::First(()) | Begun::Reused) => Err(status),
        Err(error) => Err(database_status(&error)),
    }
}

/// Business refusals are outcomes; what says "later" or "your message" is not (R9).
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::FailedPrecondition | Code::NotFound | Code::AlreadyExists | Code::PermissionDenied
    )
}

async fn pause(attempt: u32) {
    let spread = u64::from(Uuid::new_v4().as_bytes().first().copied().unwrap_or(0));
    tokio::time::sleep(Duration::from_millis(spread * u64::from(attempt) / 8)).await;
}

fn request_id(message: &impl proto::Mutation) -> Result<Uuid, Status> {
    let text = message.request_id();
    let read = Uuid::try_parse(text)
        .ok()
        .filter(|id| !id.is_nil() && text.len() == 36);
    read.ok_or_else(|| {
        Refusal::invalid("INVALID_FIELD")
            .with("field", "request_id")
            .with_fields(&[field_error("request_id", "a UUID")])
            .into_status("perdiem", "request_id: expected a UUID".to_owned())
    })
}

/// What a caller is told of a database error: that we are down, busy, or at fault.
pub fn database_status(error: &(dyn Error + 'static)) -> Status {
    if database::unreachable(error) {
        return Refusal::new(Code::Unavailable, "DATABASE_UNAVAILABLE")
            .retry_after(Duration::from_millis(500))
            .into_status("perdiem", "the database is not available".to_owned());
    }
    if database::retryable(error) || database::timed_out(error) {
        return Refusal::new(Code::Aborted, "CONFLICT")
            .retry_after(Duration::from_millis(100))
            .into_status(
                "perdiem",
                "others hold what this needs; try again".to_owned(),
            );
    }
    tracing::error!(error = %Chain(&error), "request failed");
    internal()
}
