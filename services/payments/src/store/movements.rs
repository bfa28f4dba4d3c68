//! `payments.movements`: charges and refunds, together called movements.

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::OrNone;
use crate::domain::movement::{Asked, Change, Kind, ParkedReason, Purpose, State};
use values::Money;

chassis::stored_as_text!(
    Kind,
    "payments.movements.kind or payments.sandbox_book.kind"
);
chassis::stored_as_text!(Purpose, "payments.movements.purpose");
chassis::stored_as_text!(State, "payments.movements.state");
chassis::stored_as_text!(ParkedReason, "payments.movements.parked_reason");

/// A charge or a refund, as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Movement {
    /// The root account.
    pub root_id: Uuid,
    /// Movement id.
    pub movement_id: Uuid,
    /// Charge or refund.
    pub kind: Kind,
    /// Invoice of a charge, or charge of a refund; nil for a transfer without a charge.
    pub subject_id: Uuid,
    /// Key of the refund, chosen by the caller; empty for a charge.
    pub refund_key: String,
    /// Attempt number, from 1.
    pub attempt_number: i32,
    /// ISO 4217 code.
    pub currency: String,
    /// Amount asked for, in minor units.
    pub amount_minor: i64,
    /// Amount moved according to the provider's book, in minor units.
    pub settled_minor: Option<i64>,
    /// Sum of a charge's refunds that are not refused, in minor units.
    pub refunded_minor: i64,
    /// What the charge pays for; a refund has that of its charge.
    pub purpose: Purpose,
    /// Plan paid for; empty for none.
    pub plan_code: String,
    /// Billing cycle; empty for none.
    pub cycle_code: String,
    /// Payment method.
    pub method_id: Uuid,
    /// Method code.
    pub method_code: String,
    /// Provider code; empty if no provider is involved.
    pub provider_code: String,
    /// Our reference at the provider.
    pub provider_key: Uuid,
    /// Provider's id; empty until known.
    pub provider_id: String,
    /// Whether the charge is off-session.
    pub unattended: bool,
    /// Page that the customer returns to after confirming.
    pub return_url: String,
    /// State.
    pub state: State,
    /// Refusal reason, a provider's or ours; empty otherwise.
    pub failure_reason: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Reason for parking; `None` otherwise.
    #[sqlx(try_from = "OrNone<ParkedReason>")]
    pub parked_reason: Option<ParkedReason>,
    /// Page on which the customer confirms; empty if there is nothing to confirm.
    pub action_url: String,
    /// Date by which a charge is expected to settle or a refund is due.
    pub due_on: Option<NaiveDate>,
    /// Reference given by an operator.
    pub reference: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
    /// Settlement time.
    pub settled_at: Option<DateTime<Utc>>,
    /// When the provider's book was first seen to contradict the terminal state.
    pub overturned_at: Option<DateTime<Utc>>,
    /// Fencing token of the worker that is asking the provider.
    pub lease_token: Option<Uuid>,
    /// Look-ups so far.
    pub look_ups: i32,
    /// Seconds since the last request to the provider, by the database's clock; 0 before the first.
    pub asked_for_seconds: i64,
    /// Seconds since the first request to the provider, by the database's clock; 0 before it.
    pub first_asked_for_seconds: i64,
}

impl Movement {
    /// What the provider is asked for; `None` if the currency is unknown.
    pub fn asked(&self) -> Option<Asked> {
        Some(Asked {
            reference: self.provider_key,
            money: Money::from_minor(self.amount_minor, self.currency.parse().ok()?),
        })
    }

    /// Whether no money has moved in the end: the movement was refused, or it settled and was returned.
    pub fn moved_nothing(&self) -> bool {
        self.state.is_final() && self.state.is_refused() == self.overturned_at.is_none()
    }

    /// Whether this is a refund of a charge, rather than a charge or a transfer without a charge.
    pub fn gives_back_a_charge(&self) -> bool {
        self.kind == Kind::Refund && !self.subject_id.is_nil()
    }

    /// The identity of this attempt.
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            root: self.root_id,
            kind: self.kind,
            subject: self.subject_id,
            refund_key: &self.refund_key,
            number: self.attempt_number,
        }
    }

    /// Whether two refunds have the same values.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let values = |it: &Self| {
            (
                it.currency.clone(),
                it.amount_minor,
                it.provider_code.clone(),
                it.due_on,
            )
        };
        values(self) == values(other)
    }
}

/// A query that returns movements: all columns, and what follows `FROM`.
macro_rules! movements {
    ($name:literal, $rest:literal) => {
        concat!(
            "-- payments.movements.",
            $name,
            "\nSELECT root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency, amount_minor,
                settled_minor, refunded_minor, purpose, plan_code, cycle_code, method_id, method_code, provider_code,
                provider_key, provider_id, unattended, return_url, state, failure_reason, retryable, parked_reason,
                action_url, due_on, reference, created_at, updated_at, settled_at, overturned_at, lease_token, look_ups,
                coalesce(extract(epoch FROM clock_timestamp() - sent_at), 0)::bigint AS asked_for_seconds,
                coalesce(extract(epoch FROM clock_timestamp() - first_sent_at), 0)::bigint AS first_asked_for_seconds
            FROM payments.movements ",
            $rest
        )
    };
}

/// Inserts a movement. `false` if its attempt exists. The row is leased for `seconds` to the process that inserts it,
/// which sends it.
pub async fn insert(db: &mut PgConnection, it: &Movement, seconds: i32) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- payments.movements.insert
        INSERT INTO payments.movements (root_id, movement_id, kind, subject_id, refund_key, attempt_number, currency,
            amount_minor, purpose, plan_code, cycle_code, method_id, method_code, provider_code, provider_key,
            unattended, return_url, state, parked_reason, due_on, created_at, updated_at, leased_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $21,
                clock_timestamp() + make_interval(secs => $22::int))
        ON CONFLICT ON CONSTRAINT movements_one_attempt DO NOTHING",
        it.root_id,
        it.movement_id,
        it.kind.as_str(),
        it.subject_id,
        it.refund_key,
        it.attempt_number,
        it.currency,
        it.amount_minor,
        it.purpose.as_str(),
        it.plan_code,
        it.cycle_code,
        it.method_id,
        it.method_code,
        it.provider_code,
        it.provider_key,
        it.unattended,
        it.return_url,
        it.state.as_str(),
        it.parked_reason.map_or("", ParkedReason::as_str),
        it.due_on,
        it.created_at,
        seconds
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The movement `id` of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid, id: Uuid) -> sqlx::Result<Option<Movement>> {
    sqlx::query_as(movements!("get", "WHERE root_id = $1 AND movement_id = $2"))
        .bind(root)
        .bind(id)
        .fetch_optional(db)
        .await
}

/// Locks and returns the movement `id` of a root account. State changes require this lock.
pub async fn lock(db: &mut PgConnection, root: Uuid, id: Uuid) -> sqlx::Result<Option<Movement>> {
    sqlx::query_as(movements!(
        "lock",
        "WHERE root_id = $1 AND movement_id = $2 FOR NO KEY UPDATE"
    ))
    .bind(root)
    .bind(id)
    .fetch_optional(db)
    .await
}

/// The identity of an attempt: requests with the same values are the same attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The root account.
    pub root: Uuid,
    /// Charge or refund.
    pub kind: Kind,
    /// Invoice of a charge, or charge of a refund.
    pub subject: Uuid,
    /// Key of the refund; empty for a charge.
    pub refund_key: &'a str,
    /// Attempt number, from 1.
    pub number: i32,
}

/// The movement of an attempt.
pub async fn attempt(db: &mut PgConnection, of: Attempt<'_>) -> sqlx::Result<Option<Movement>> {
    sqlx::query_as(movements!(
        "attempt",
        "WHERE root_id = $1 AND kind = $2 AND subject_id = $3 AND refund_key = $4 AND attempt_number = $5"
    ))
    .bind(of.root)
    .bind(of.kind.as_str())
    .bind(of.subject)
    .bind(of.refund_key)
    .bind(of.number)
    .fetch_optional(db)
    .await
}

/// Filter of a list.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Charges or refunds.
    pub kind: Kind,
    /// Of this root account.
    pub root: Option<Uuid>,
    /// Of this invoice or charge.
    pub subject: Option<Uuid>,
    /// In this state.
    pub state: Option<State>,
    /// Due before this day and not in a terminal state.
    pub overdue_on: Option<NaiveDate>,
    /// Only those whose terminal state the provider's book contradicts.
    pub overturned: bool,
    /// Created at or after this time.
    pub from: Option<DateTime<Utc>>,
    /// Created before this time.
    pub until: Option<DateTime<Utc>>,
    /// Page position: created before this row.
    pub before: Option<(DateTime<Utc>, Uuid)>,
    /// Page size.
    pub limit: i64,
}

impl Filter {
    /// The first `limit` movements of a kind.
    pub const fn of(kind: Kind, limit: i64) -> Self {
        Self {
            kind,
            root: None,
            subject: None,
            state: None,
            overdue_on: None,
            overturned: false,
            from: None,
            until: None,
            before: None,
            limit,
        }
    }
}

/// Movements, newest first.
pub async fn list(db: &mut PgConnection, filter: &Filter) -> sqlx::Result<Vec<Movement>> {
    let (created_at, id) = filter.before.unzip();
    sqlx::query_as(movements!(
        "list",
        "WHERE kind = $1 AND ($2::uuid IS NULL OR root_id = $2) AND ($3::uuid IS NULL OR subject_id = $3)
           AND ($4::text IS NULL OR state = $4)
           AND ($5::date IS NULL OR (due_on < $5 AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')))
           AND ($6::timestamptz IS NULL OR (created_at, movement_id) < ($6, $7::uuid))
           AND (NOT $9 OR overturned_at IS NOT NULL) AND ($10::timestamptz IS NULL OR $10 <= created_at)
           AND ($11::timestamptz IS NULL OR created_at < $11)
         ORDER BY created_at DESC, movement_id DESC LIMIT $8"
    ))
    .bind(filter.kind.as_str())
    .bind(filter.root)
    .bind(filter.subject)
    .bind(filter.state.map(State::as_str))
    .bind(filter.overdue_on)
    .bind(created_at)
    .bind(id)
    .bind(filter.limit)
    .bind(filter.overturned)
    .bind(filter.from)
    .bind(filter.until)
    .fetch_all(db)
    .await
}

/// Movements created from `from` until before `until` that belong to a provider, oldest first.
pub async fn sent_between(
    db: &mut PgConnection,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    root: Option<Uuid>,
    provider: &str,
) -> sqlx::Result<Vec<Movement>> {
    sqlx::query_as(movements!(
        "sent_between",
        "WHERE kind IN ('CHARGE', 'REFUND') AND $1 <= created_at AND created_at < $2
           AND ($3::uuid IS NULL OR root_id = $3) AND provider_code = $4
         ORDER BY created_at, movement_id"
    ))
    .bind(from)
    .bind(until)
    .bind(root)
    .bind(provider)
    .fetch_all(db)
    .await
}

/// Those of `keys` that are references of ours.
pub async fn known_keys(db: &mut PgConnection, keys: &[Uuid]) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- payments.movements.known_keys
        SELECT provider_key FROM payments.movements WHERE provider_key = ANY($1)",
        keys
    )
    .fetch_all(db)
    .await
}

/// Claims a `CREATED` movement for sending. `false` if another worker has claimed it.
pub async fn begin_sending(
    db: &mut PgConnection,
    root: Uuid,
    id: Uuid,
    (token, seconds): (Uuid, i32),
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- payments.movements.begin_sending
        UPDATE payments.movements
        SET state = 'SENDING', sent_at = clock_timestamp(), first_sent_at = clock_timestamp(), lease_token = $3,
            leased_until = clock_timestamp() + make_interval(secs => $4::int)
        WHERE root_id = $1 AND movement_id = $2 AND state = 'CREATED'",
        root,
        id,
        token,
        seconds
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Records a repeated request to the provider.
pub async fn ask_again(db: &mut PgConnection, root: Uuid, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.ask_again
        UPDATE payments.movements SET sent_at = clock_timestamp() WHERE root_id = $1 AND movement_id = $2",
        root,
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Leases up to `limit` movements of a provider that are due for a look-up, longest waiting first. Concurrent workers
/// get different rows. Returns root, id and the due time that `look_up_later` compares.
pub async fn lease_due(
    db: &mut PgConnection,
    (token, seconds): (Uuid, i32),
    (provider, limit): (&str, i64),
) -> sqlx::Result<Vec<(Uuid, Uuid, String)>> {
    let rows = sqlx::query!(
        r#"-- payments.movements.lease_due
        UPDATE payments.movements SET lease_token = $1, leased_until = clock_timestamp() + make_interval(secs => $2::int)
        WHERE movement_id IN (
            SELECT movement_id FROM payments.movements
            WHERE provider_code <> '' AND provider_code = $3 AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING')
              AND look_at <= clock_timestamp() AND leased_until <= clock_timestamp()
            ORDER BY look_at LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED
        )
        RETURNING root_id, movement_id, look_at::text AS "look_at!""#,
        token,
        seconds,
        provider,
        limit
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (row.root_id, row.movement_id, row.look_at))
        .collect())
}

/// Makes all movements of a provider with an unknown outcome due for a look-up now. Rows are locked in order of their
/// ids, so that concurrent calls can't deadlock.
pub async fn look_up_all(db: &mut PgConnection, provider: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.look_up_all
        UPDATE payments.movements SET look_at = clock_timestamp()
        WHERE movement_id IN (
            SELECT movement_id FROM payments.movements
            WHERE provider_code <> '' AND provider_code = $1 AND state IN ('SENDING', 'UNKNOWN')
              AND clock_timestamp() < look_at
            ORDER BY movement_id FOR NO KEY UPDATE)",
        provider
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a movement is being sent or looked up, or is about to be. The test clock waits for these. It does not wait
/// for a slow settlement, whose look-ups become rare, nor for providers that are `unreachable`.
pub async fn any_due(db: &mut PgConnection, unreachable: &[String]) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.movements.any_due
        SELECT EXISTS (
            SELECT FROM payments.movements
            WHERE provider_code <> '' AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING')
              AND provider_code <> ALL($1)
              AND (look_at <= clock_timestamp() OR clock_timestamp() < leased_until
                   OR state <> 'PENDING' AND look_at <= clock_timestamp() + interval '5 s')
        ) AS "due!""#,
        unreachable
    )
    .fetch_one(db)
    .await
}

/// When a job of this service has work next, up to `until` and at the earliest at `now`, where it has these providers;
/// `None` while there is none to come by then.
pub async fn next_work(
    db: &mut PgConnection,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
    providers: &[String],
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- payments.movements.next_work\nSELECT payments.next_work($1, $2, $3) AS at",
        now,
        until,
        providers
    )
    .fetch_one(db)
    .await
}

/// Up to `limit` refunds that were due before the day of `now` and are not decided, noted as told of: their
/// root, id and day.
pub async fn take_overdue(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<(Uuid, Uuid, NaiveDate)>> {
    let rows = sqlx::query!(
        r#"-- payments.movements.take_overdue
        UPDATE payments.movements SET overdue_told_at = $1
        WHERE movement_id IN (
            SELECT movement_id FROM payments.movements
            WHERE kind = 'REFUND' AND overdue_told_at IS NULL
              AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT') AND due_on < $2
            ORDER BY due_on LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED)
        RETURNING root_id, movement_id, due_on AS "due_on!""#,
        now,
        now.date_naive(),
        limit
    )
    .fetch_all(db)
    .await?;
    let rows = rows.into_iter();
    Ok(rows
        .map(|row| (row.root_id, row.movement_id, row.due_on))
        .collect())
}

/// The next due date of an undecided refund that has not been reported.
pub async fn next_overdue(db: &mut PgConnection) -> sqlx::Result<Option<NaiveDate>> {
    sqlx::query_scalar!(
        "-- payments.movements.next_overdue
        SELECT min(due_on) FROM payments.movements
        WHERE kind = 'REFUND' AND overdue_told_at IS NULL AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')"
    )
    .fetch_one(db)
    .await
}

/// Releases the lease of an undecided movement. It is due again after `pause` seconds, or at once if a hint has arrived
/// since the lease was taken. If this look-up `counts`, later pauses become longer.
pub async fn look_up_later(
    db: &mut PgConnection,
    (root, id): (Uuid, Uuid),
    (token, look_at): (Uuid, &str),
    (pause, counts): (i64, bool),
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.look_up_later
        UPDATE payments.movements
        SET look_ups = look_ups + CASE WHEN $6::boolean THEN 1 ELSE 0 END, lease_token = NULL, leased_until = '-infinity',
            look_at = CASE WHEN look_at::text = $5
                THEN clock_timestamp() + make_interval(secs => $4::bigint::double precision) ELSE look_at END
        WHERE root_id = $1 AND movement_id = $2 AND lease_token = $3",
        root,
        id,
        token,
        pause,
        look_at,
        counts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes the movements with these references due for a look-up now, after a hint.
pub async fn look_up_now(db: &mut PgConnection, keys: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.look_up_now
        UPDATE payments.movements SET look_at = clock_timestamp()
        WHERE movement_id IN (
            SELECT movement_id FROM payments.movements
            WHERE provider_key = ANY($1) AND state IN ('SENDING', 'UNKNOWN', 'PENDING')
            ORDER BY movement_id FOR NO KEY UPDATE)",
        keys
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Applies a change to a movement, which the caller has locked.
pub async fn set(
    db: &mut PgConnection,
    id: Uuid,
    change: &Change,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    let (settled, settled_at) = change.settled.unzip();
    sqlx::query!(
        "-- payments.movements.set
        UPDATE payments.movements
        SET state = $2, provider_id = CASE WHEN $3 = '' THEN provider_id ELSE $3 END, settled_minor = $4,
            settled_at = $5, failure_reason = $6, retryable = $7, parked_reason = $8, action_url = $9, updated_at = $10,
            lease_token = NULL, leased_until = '-infinity', look_ups = 0, look_at = '-infinity'
        WHERE movement_id = $1",
        id,
        change.state.as_str(),
        change.provider_id,
        settled.map(Money::minor),
        settled_at,
        change.failure_reason,
        change.retryable,
        change.parked_reason.map_or("", ParkedReason::as_str),
        change.action_url,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records since when the provider's book contradicts a movement's terminal state; `None` clears it.
pub async fn set_overturned(
    db: &mut PgConnection,
    id: Uuid,
    since: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.set_overturned
        UPDATE payments.movements SET overturned_at = $2, updated_at = $3 WHERE movement_id = $1",
        id,
        since,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores an operator's reference for a movement. A reference is unique (`movements_one_reference`).
pub async fn set_reference(db: &mut PgConnection, id: Uuid, reference: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.set_reference\nUPDATE payments.movements SET reference = $2 WHERE movement_id = $1",
        id,
        reference
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Reserves `minor` of a charge for a refund, or releases it if negative. `false` if the charge has not succeeded or
/// less than that is left of it, so that concurrent refunds never exceed the charge.
pub async fn reserve(
    db: &mut PgConnection,
    root: Uuid,
    charge: Uuid,
    minor: i64,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- payments.movements.reserve
        UPDATE payments.movements SET refunded_minor = refunded_minor + $3
        WHERE root_id = $1 AND movement_id = $2 AND kind = 'CHARGE' AND state = 'SUCCEEDED'
          AND $3 BETWEEN -refunded_minor AND settled_minor - refunded_minor",
        root,
        charge,
        minor
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether a charge by a payment method is undecided.
pub async fn any_open_by(db: &mut PgConnection, root: Uuid, method: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.movements.any_open_by
        SELECT EXISTS (
            SELECT FROM payments.movements
            WHERE root_id = $1 AND method_id = $2 AND kind = 'CHARGE'
              AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')
        ) AS "open!""#,
        root,
        method
    )
    .fetch_one(db)
    .await
}

/// The movement of a provider with our reference, or else with one of the provider's ids.
pub async fn of_provider(
    db: &mut PgConnection,
    provider: &str,
    reference: Option<Uuid>,
    ids: &[String],
) -> sqlx::Result<Option<Movement>> {
    let row = sqlx::query!(
        r#"-- payments.movements.of_provider
        SELECT root_id AS "root_id!", movement_id AS "movement_id!" FROM (
            SELECT root_id, movement_id, 1 AS place FROM payments.movements
            WHERE provider_key = $2 AND provider_code = $1
            UNION ALL
            SELECT root_id, movement_id, 2 FROM payments.movements
            WHERE provider_id <> '' AND provider_id = ANY($3) AND provider_code = $1
        ) found
        ORDER BY place LIMIT 1"#,
        provider,
        reference,
        ids
    )
    .fetch_optional(&mut *db)
    .await?;
    match row {
        Some(row) => get(db, row.root_id, row.movement_id).await,
        None => Ok(None),
    }
}
