//! The unit of work: what changes something, as one transaction and one answer.

use std::error::Error;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt as _;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::AccountId;

use crate::audit::{self, Answer};
use crate::crash::crash_point_of;
use crate::requests::{self, Begun, Done, Key, Start, Taken, With};
use crate::subject::Subject;
use crate::{
    Access, Anchors, Caller, Chain, Clock, Database, NotOpen, Pages, Refusal, Standing, StandsIn,
    Tenant, Transaction, Trip, database, field_error, internal, reconciling, standing, texts,
};

/// How often a unit of work is run before its caller is told to try again.
const ATTEMPTS: u32 = 4;

/// What a service's context offers to [`write`].
pub trait Owned: Clone + Send + Sync + 'static {
    /// The schema of the service.
    const SCHEMA: &'static str;
    /// Its table of accounts and their roots.
    const ROOTS: &'static str;
    /// Who may call its methods, and in which standings of an account.
    const ACCESS: &'static [Access];
    /// Its database.
    fn db(&self) -> &Database;
    /// Its clock.
    fn clock(&self) -> &Clock;
    /// Where the newest entries of its audit go to.
    fn anchors(&self) -> &Anchors;
    /// The key that seals its page tokens.
    fn pages(&self) -> &Pages;
    /// Checks that a person still has the permissions that [`crate::asked`] recorded with a stored answer; otherwise
    /// returns the error that they get instead of it. Permissions of operators and services are in their credentials
    /// and checked at each call.
    fn still_allowed(
        &self,
        _caller: &Caller,
        _asked: &[String],
    ) -> impl Future<Output = Result<(), Status>> + Send {
        std::future::ready(Ok(()))
    }
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
    pub tx: Transaction,
    key: Key,
    now: DateTime<Utc>,
    about: Option<Uuid>,
    start: Start,
    user: Option<Uuid>,
}

impl<M> Call<M> {
    /// Begins the unit of work, or tells what became of the intent; it is not open to the account that is held where
    /// [`Taken::open`] says so.
    async fn begin(
        &self,
        db: &Database,
        with: With,
    ) -> sqlx::Result<Begun<(Unit, Result<(), NotOpen>)>> {
        let mut tx = db.begin().await?;
        Ok(
            match requests::begin(&mut tx, &self.key, with, self.now).await? {
                Begun::First(Taken { start, open }) => {
                    let unit = Unit {
                        tx,
                        key: self.key.clone(),
                        now: self.now,
                        about: None,
                        start,
                        user: None,
                    };
                    Begun::First((unit, open))
                }
                Begun::Done(done) => Begun::Done(done),
                Begun::Reused => Begun::Reused,
            },
        )
    }

    /// Refuses where the method is not open to an account (D37), by what was read of it: for a saga that asks others
    /// before its first step, which looks again.
    pub fn open_to(&self, account: Uuid, stands: &StandsIn) -> Result<(), NotOpen> {
        standing::open((account, self.key.shut), stands, self.now)
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
    /// Begins the next step of a saga; the first step checks the account's standing (D37).
    pub async fn step<E>(&self, db: &Database) -> Result<Unit, E>
    where
        E: From<sqlx::Error> + From<Twin> + From<NotOpen>,
    {
        let with = With {
            tenant: None,
            held: self.key.account_id(),
        };
        self.next_step(db, with).await
    }

    /// Like [`Call::step`], for the rows of `tenant` and with what [`Unit::concerns`] asks of `account`, in the same
    /// round trip.
    pub async fn step_as<E>(&self, db: &Database, tenant: Tenant, account: Uuid) -> Result<Unit, E>
    where
        E: From<sqlx::Error> + From<Twin> + From<NotOpen>,
    {
        let with = With {
            tenant: Some(tenant),
            held: self.key.account_id().or(Some(account)),
        };
        let mut unit: Unit = self.next_step::<E>(db, with).await?;
        if with.held != Some(account) {
            unit.concerns::<E>(account).await?;
        }
        Ok(unit)
    }

    async fn next_step<E>(&self, db: &Database, with: With) -> Result<Unit, E>
    where
        E: From<sqlx::Error> + From<Twin> + From<NotOpen>,
    {
        match self.begin(db, with).await? {
            Begun::First((unit, open)) => {
                open?;
                Ok(unit)
            }
            Begun::Done(_) | Begun::Reused => Err(Twin.into()),
        }
    }
}

impl Key {
    /// The account that the intent is about. What does not read as one is refused by the handler.
    fn account_id(&self) -> Option<Uuid> {
        self.account.parse::<AccountId>().ok().map(AccountId::uuid)
    }

    /// The outcome while the method is not allowed in the account's standing: the same error that the service would
    /// return itself; it is not stored.
    fn shut_to(&self, not_open: &NotOpen) -> Done {
        let domain = format!("{}.perdiem", self.schema);
        let status = not_open
            .refusal()
            .into_status(&domain, not_open.to_string());
        Done {
            outcome: Err(Box::new(status)),
            asked: Vec::new(),
        }
    }
}

impl Unit {
    /// Refuses where the method is not open to an account that the request does not name as the one it is about:
    /// that of an invoice, a member of a contract (D37).
    pub async fn concerns<E>(&mut self, account: Uuid) -> Result<(), E>
    where
        E: From<sqlx::Error> + From<NotOpen>,
    {
        if self.start == Start::UnderWay || self.key.account_id() == Some(account) {
            return Ok(());
        }
        let of = (account, self.key.shut);
        Ok(standing::hold(&mut self.tx, self.key.roots, of, self.now).await??)
    }

    /// Checks an account's standing again (D37), after waiting for a lock: its previous holder may have closed the
    /// account.
    pub async fn still_concerns<E>(&mut self, account: Uuid) -> Result<(), E>
    where
        E: From<sqlx::Error> + From<NotOpen>,
    {
        if self.start == Start::UnderWay {
            return Ok(());
        }
        let of = (account, self.key.shut);
        Ok(standing::seen(&mut self.tx, self.key.roots, of, self.now).await??)
    }

    /// Names the root account whose audit tells of this, where neither the request nor the tenant does.
    pub fn about(&mut self, root: Uuid) {
        self.about = Some(root);
        Subject::about(root);
    }

    /// Names the user whom the answer concerns, so that the answer is deleted with them.
    pub const fn about_user(&mut self, user: Uuid) {
        self.user = Some(user);
    }

    /// Keeps `response` as the answer of the intent and commits.
    pub async fn commit<R: prost::Message>(self, response: R) -> sqlx::Result<R> {
        let answer = Answer {
            bytes: response.encode_to_vec(),
            user: self.user,
            found: Subject::current(),
        };
        self.committed(Some(answer), ("before", "after")).await?;
        Ok(response)
    }

    /// Commits without an answer: the first step of a saga, whose retry goes on with it.
    pub async fn commit_step(self) -> sqlx::Result<()> {
        self.committed(None, ("step.before", "step.after")).await
    }

    async fn committed(
        mut self,
        answer: Option<Answer>,
        (before, after): (&str, &str),
    ) -> sqlx::Result<()> {
        audit::end_unit(&mut self.tx, &self.key, answer, self.about, self.now).await?;
        let Key { schema, method, .. } = self.key;
        crash_point_of(schema, method, before);
        self.tx.commit().await?;
        crash_point_of(schema, method, after);
        Ok(())
    }
}

/// Runs `handle` as one unit of work. The gate has given it a task of its own: a caller that goes away stops nothing
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
    answered(ctx, request, handle).await
}

/// How work on a request begins, unless it was already answered.
trait Opening: Sized + Send {
    /// Begins the work, or returns the stored outcome.
    fn of<M: Sync>(
        call: &Call<M>,
        db: &Database,
    ) -> impl Future<Output = sqlx::Result<Begun<Self>>> + Send;
}

impl Opening for Unit {
    async fn of<M: Sync>(call: &Call<M>, db: &Database) -> sqlx::Result<Begun<Self>> {
        let with = With {
            tenant: None,
            held: call.key.account_id(),
        };
        Ok(match call.begin(db, with).await? {
            Begun::First((unit, Ok(()))) => Begun::First(unit),
            Begun::First((_, Err(not_open))) => Begun::Done(call.key.shut_to(&not_open)),
            Begun::Done(done) => Begun::Done(done),
            Begun::Reused => Begun::Reused,
        })
    }
}

/// The beginning of a saga, of which each step has its own transaction.
struct Unanswered;

impl Opening for Unanswered {
    async fn of<M: Sync>(call: &Call<M>, db: &Database) -> sqlx::Result<Begun<Self>> {
        // A person first shows that the account is there for them: their handler refuses then, as each first step.
        let seen = match call.caller {
            Caller::Person { .. } => None,
            Caller::Operator { .. } | Caller::Service { .. } => call.key.account_id(),
        };
        let mut db = db.acquire().await?;
        Ok(
            match requests::known(&mut db, &call.key, seen, call.now).await? {
                Begun::First(Taken { open: Ok(()), .. }) => Begun::First(Self),
                Begun::First(Taken {
                    open: Err(not_open),
                    ..
                }) => Begun::Done(call.key.shut_to(&not_open)),
                Begun::Done(done) => Begun::Done(done),
                Begun::Reused => Begun::Reused,
            },
        )
    }
}

async fn answered<C, M, R, E, F, O>(
    ctx: &C,
    request: Request<M>,
    handle: impl Fn(C, Call<M>, O) -> F + Send + 'static,
) -> Result<Response<R>, Status>
where
    C: Owned,
    M: proto::Mutation,
    R: prost::Message + Default + 'static,
    E: Error + Into<Status> + From<sqlx::Error> + Send + 'static,
    F: Future<Output = Result<R, E>> + Send,
    O: Opening,
{
    let caller = request
        .extensions()
        .get::<Caller>()
        .cloned()
        .ok_or_else(internal)?;
    reconciling::refuse(&caller)?;
    let message = request.into_inner();
    texts::refuse(&message)?;
    let request_id = request_id(&message)?;
    let mut bare = message.clone();
    bare.clear_request_id();
    let key = Key {
        schema: C::SCHEMA,
        roots: C::ROOTS,
        caller: caller.to_string(),
        account: scope(message.account_scope()),
        method: M::METHOD,
        shut: if message.after_closing() {
            &[]
        } else {
            shut::<C>(M::METHOD)
        },
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
        Subject::scope(attempts(&ctx, &call, handle)).await
    };
    // Boxed because it is large, and each move would copy it.
    work.boxed().await.map(Response::new)
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
    answered(ctx, request, move |ctx, call, Unanswered| handle(ctx, call)).await
}

/// Runs `work` in a task of its own and waits for it: a caller that goes away stops nothing (R18), and the place of
/// its call is taken until the work ends.
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

/// Standings in which a method is refused; a method without a row is refused in all of them.
fn shut<C: Owned>(method: &str) -> &'static [Standing] {
    let row = C::ACCESS.iter().find(|it| it.method == method);
    row.map_or(Standing::ALL, |it| it.shut)
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

async fn attempts<C, M, R, E, F, O>(
    ctx: &C,
    call: &Call<M>,
    handle: impl Fn(C, Call<M>, O) -> F,
) -> Result<R, Status>
where
    C: Owned,
    M: proto::Mutation,
    R: prost::Message + Default,
    E: Error + Into<Status> + From<sqlx::Error> + 'static,
    F: Future<Output = Result<R, E>>,
    O: Opening,
{
    for attempt in 1..=ATTEMPTS {
        let opening = match O::of(call, ctx.db()).await {
            Ok(Begun::First(opening)) => opening,
            Ok(Begun::Done(done)) => return again(ctx, &call.caller, done).await,
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
        match handle(ctx.clone(), call.clone(), opening).await {
            Ok(response) => return Ok(response),
            Err(error) if database::retryable(&error) => pause(attempt).await,
            Err(error) => {
                if database::unreachable(&error) || database::timed_out(&error) {
                    return Err(database_status(&error));
                }
                let of_standing = NotOpen::caused(&error);
                let status = error.into();
                let of_standing = of_standing || tells_of_standing(&status);
                return if !of_standing && is_final(status.code()) {
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

/// Repeats a stored outcome to a caller who still has the permissions that it relied on.
async fn again<C: Owned, R: prost::Message + Default>(
    ctx: &C,
    caller: &Caller,
    done: Done,
) -> Result<R, Status> {
    if !done.asked.is_empty() {
        ctx.still_allowed(caller, &done.asked).await?;
    }
    let bytes = done.outcome.map_err(|status| *status)?;
    R::decode(bytes.as_slice()).map_err(|error| {
        tracing::error!(error = %Chain(&error), "a stored response can't be decoded");
        internal()
    })
}

/// Keeps a refusal as the answer of its intent, and gives what is kept: a twin may have been first.
async fn refused<C: Owned, M, R: prost::Message + Default>(
    ctx: &C,
    call: &Call<M>,
    status: Status,
) -> Result<R, Status> {
    let kept = async {
        let mut tx = ctx.db().begin().await?;
        // However the account stands: what refused was asked of it before.
        let begun = requests::begin(&mut tx, &call.key, With::default(), call.now).await?;
        if matches!(begun, Begun::First(_)) {
            let subject = Subject::current();
            requests::refuse(&mut tx, &call.key, &status, &subject).await?;
            tx.commit().await?;
        }
        Ok::<_, sqlx::Error>(begun)
    };
    match kept.await {
        Ok(Begun::Done(first)) => again(ctx, &call.caller, first).await,
        Ok(Begun::First(_) | Begun::Reused) => Err(status),
        Err(error) => Err(database_status(&error)),
    }
}

/// Whether another service refused because of the account's standing. Like our own error of this kind it is not
/// stored, because the standing may have changed when the request is retried.
fn tells_of_standing(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|it| it.metadata.contains_key("standing"))
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
