//! `payments.movements`: charges and refunds.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::movement::{Asked, Change, State};
use values::Money;

/// A charge or a refund as stored.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Movement {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub movement_id: Uuid,
    /// CHARGE or REFUND.
    pub kind: String,
    /// The invoice of a charge; the charge of a refund.
    pub subject_id: Uuid,
    /// What is refunded; empty for a charge.
    pub refund_key: String,
    /// Which attempt, from 1.
    pub attempt_number: i32,
    /// The currency.
    pub currency: String,
    /// How much.
    pub amount_minor: i64,
    /// What the provider's book says has moved.
    pub settled_minor: Option<i64>,
    /// Of a charge: the sum of its refunds that are not refused.
    pub refunded_minor: i64,
    /// SUBSCRIPTION, CREDITS or INVOICE.
    pub purpose: String,
    /// The plan that is paid for; empty for none.
    pub plan_code: String,
    /// The cycle; empty for none.
    pub cycle_code: String,
    /// The payment method.
    pub method_id: Uuid,
    /// Its code.
    pub method_code: String,
    /// Who is asked; empty for nobody.
    pub provider_code: String,
    /// Our reference.
    pub provider_key: Uuid,
    /// The provider's id; empty while unknown.
    pub provider_id: String,
    /// Whether the person is not there.
    pub unattended: bool,
    /// Where the person is sent after confirming.
    pub return_url: String,
    /// Where it stands.
    #[sqlx(try_from = "String")]
    pub state: State,
    /// Why it is refused.
    pub failure_reason: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// Why it is parked.
    pub parked_reason: String,
    /// Where the person confirms.
    pub action_url: String,
    /// When it is expected to settle, or is to be back.
    pub due_on: Option<NaiveDate>,
    /// The operator's reference.
    pub reference: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it reached its state.
    pub updated_at: DateTime<Utc>,
    /// When the money moved.
    pub settled_at: Option<DateTime<Utc>>,
    /// When the provider's book was first seen to contradict its final state.
    pub overturned_at: Option<DateTime<Utc>>,
    /// Who is asking the provider.
    pub lease_token: Option<Uuid>,
    /// How often it was looked up.
    pub look_ups: i32,
    /// Seconds since the provider was asked last, by the database's clock; 0 before.
    pub asked_for_seconds: i64,
    /// Seconds since the provider was asked first, by the database's clock; 0 before.
    pub first_asked_for_seconds: i64,
}

/// A stored state that is none; we wrote it, so this is a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no state of a movement")]
pub struct NoState;

impl TryFrom<String> for State {
    type Error = NoState;

    fn try_from(name: String) -> Result<Self, NoState> {
        Self::named(&name).ok_or(NoState)
    }
}

impl Movement {
    /// What the provider is, or would be, asked for; `None` for a currency that is not known.
    pub fn asked(&self) -> Option<Asked> {
        Some(Asked {
            reference: self.provider_key,
            money: Money::from_minor(self.amount_minor, self.currency.parse().ok()?),
        })
    }

    /// Whether its money is where it was for good: refused and not moved after all, or moved and come back.
    pub fn moved_nothing(&self) -> bool {
        self.state.is_final() && self.state.is_refused() == self.overturned_at.is_none()
    }

    /// Which attempt it is.
    pub fn attempt(&self) -> Attempt<'_> {
        Attempt {
            root: self.root_id,
            kind: &self.kind,
            subject: self.subject_id,
            refund_key: &self.refund_key,
            number: self.attempt_number,
        }
    }

    /// Whether two refunds ask for the same.
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

/// A statement that gives movements: all their columns, and what follows `FROM`.
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

/// Writes a movement down, unless its attempt is written; `false` says that it is. For `seconds` it is
/// left to whoever writes it to send it.
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
        it.kind,
        it.subject_id,
        it.refund_key,
        it.attempt_number,
        it.currency,
        it.amount_minor,
        it.purpose,
        it.plan_code,
        it.cycle_code,
        it.method_id,
        it.method_code,
        it.provider_code,
        it.provider_key,
        it.unattended,
        it.return_url,
        it.state.name(),
        it.parked_reason,
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

/// The movement `id` of a root account, locked: its state changes only under this.
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

/// What makes two requests one attempt.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The root account.
    pub root: Uuid,
    /// CHARGE or REFUND.
    pub kind: &'a str,
    /// The invoice of a charge; the charge of a refund.
    pub subject: Uuid,
    /// What is refunded; empty for a charge.
    pub refund_key: &'a str,
    /// Which attempt, from 1.
    pub number: i32,
}

/// The movement of an attempt.
pub async fn attempt(db: &mut PgConnection, of: Attempt<'_>) -> sqlx::Result<Option<Movement>> {
    sqlx::query_as(movements!(
        "attempt",
        "WHERE root_id = $1 AND kind = $2 AND subject_id = $3 AND refund_key = $4 AND attempt_number = $5"
    ))
    .bind(of.root)
    .bind(of.kind)
    .bind(of.subject)
    .bind(of.refund_key)
    .bind(of.number)
    .fetch_optional(db)
    .await
}

/// Which movements to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// CHARGE or REFUND.
    pub kind: &'static str,
    /// Of this root account.
    pub root: Option<Uuid>,
    /// Of this invoice or charge.
    pub subject: Option<Uuid>,
    /// In this state.
    pub state: Option<&'static str>,
    /// To be back before this day and not final.
    pub overdue_on: Option<NaiveDate>,
    /// Whose final state the provider's book contradicts.
    pub overturned: bool,
    /// Made before this one.
    pub before: Option<(DateTime<Utc>, Uuid)>,
    /// At most this many.
    pub limit: i64,
}

/// Movements, the newest first.
pub async fn list(db: &mut PgConnection, filter: &Filter) -> sqlx::Result<Vec<Movement>> {
    let (created_at, id) = filter.before.unzip();
    sqlx::query_as(movements!(
        "list",
        "WHERE kind = $1 AND ($2::uuid IS NULL OR root_id = $2) AND ($3::uuid IS NULL OR subject_id = $3)
           AND ($4::text IS NULL OR state = $4)
           AND ($5::date IS NULL OR (due_on < $5 AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')))
           AND ($6::timestamptz IS NULL OR (created_at, movement_id) < ($6, $7::uuid))
           AND (NOT $9 OR overturned_at IS NOT NULL)
         ORDER BY created_at DESC, movement_id DESC LIMIT $8"
    ))
    .bind(filter.kind)
    .bind(filter.root)
    .bind(filter.subject)
    .bind(filter.state)
    .bind(filter.overdue_on)
    .bind(created_at)
    .bind(id)
    .bind(filter.limit)
    .bind(filter.overturned)
    .fetch_all(db)
    .await
}

/// Movements made from `from` until before `until` that were sent to a provider, oldest first.
pub async fn sent_between(
    db: &mut PgConnection,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    root: Option<Uuid>,
    provider: &str,
) -> sqlx::Result<Vec<Movement>> {
    sqlx::query_as(movements!(
        "sent_between",
        "WHERE $1 <= created_at AND created_at < $2 AND ($3::uuid IS NULL OR root_id = $3) AND provider_code = $4
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

/// Takes a movement that was not sent yet, to send it; `false` when another has.
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

/// Notes that the provider is asked once more.
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

/// Takes the movement that has waited longest to be looked up; of those that call at once, each
/// takes another. Gives its root, its id and what `look_up_later` needs.
pub async fn lease_due(
    db: &mut PgConnection,
    (token, seconds): (Uuid, i32),
) -> sqlx::Result<Option<(Uuid, Uuid, String)>> {
    let row = sqlx::query!(
        r#"-- payments.movements.lease_due
        UPDATE payments.movements SET lease_token = $1, leased_until = clock_timestamp() + make_interval(secs => $2::int)
        WHERE movement_id = (
            SELECT movement_id FROM payments.movements
            WHERE provider_code <> '' AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING')
              AND look_at <= clock_timestamp() AND leased_until <= clock_timestamp()
            ORDER BY look_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
        )
        RETURNING root_id, movement_id, look_at::text AS "look_at!""#,
        token,
        seconds
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.root_id, row.movement_id, row.look_at)))
}

/// Whether a movement is being asked for or looked up, or is about to be: asked by a test clock, which waits
/// for it. One that the provider has yet to settle is looked at ever more seldom, and not waited for.
pub async fn any_due(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.movements.any_due
        SELECT EXISTS (
            SELECT FROM payments.movements
            WHERE provider_code <> '' AND state IN ('CREATED', 'SENDING', 'UNKNOWN', 'PENDING')
              AND (look_at <= clock_timestamp() OR clock_timestamp() < leased_until
                   OR state <> 'PENDING' AND look_at <= clock_timestamp() + interval '5 s')
        ) AS "due!""#
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

/// The day on which a refund that is not decided is due next and not told of.
pub async fn next_overdue(db: &mut PgConnection) -> sqlx::Result<Option<NaiveDate>> {
    sqlx::query_scalar!(
        "-- payments.movements.next_overdue
        SELECT min(due_on) FROM payments.movements
        WHERE kind = 'REFUND' AND overdue_told_at IS NULL AND state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT')"
    )
    .fetch_one(db)
    .await
}

/// Gives a movement back that is not decided: it is looked up again after `pause` seconds, or at once
/// when a hint has come since it was leased.
pub async fn look_up_later(
    db: &mut PgConnection,
    (root, id): (Uuid, Uuid),
    (token, look_at): (Uuid, &str),
    pause: i64,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.look_up_later
        UPDATE payments.movements
        SET look_ups = look_ups + 1, lease_token = NULL, leased_until = '-infinity',
            look_at = CASE WHEN look_at::text = $5
                THEN clock_timestamp() + make_interval(secs => $4::bigint::double precision) ELSE look_at END
        WHERE root_id = $1 AND movement_id = $2 AND lease_token = $3",
        root,
        id,
        token,
        pause,
        look_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Has movements looked up now, by our references: a hint has come.
pub async fn look_up_now(db: &mut PgConnection, keys: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.look_up_now
        UPDATE payments.movements SET look_at = clock_timestamp()
        WHERE provider_key = ANY($1) AND state IN ('SENDING', 'UNKNOWN', 'PENDING')",
        keys
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes the state of a movement that is locked.
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
        change.state.name(),
        change.provider_id,
        settled.map(Money::minor),
        settled_at,
        change.failure_reason,
        change.retryable,
        change.parked_reason,
        change.action_url,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes since when the provider's book contradicts a movement's final state, or that it does not any more.
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

/// Keeps the reference by which an operator settled a movement; one reference settles one
/// (`movements_one_reference`).
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

/// Sets `minor` of a charge aside for a refund, or gives a negative one back; `false` when it has
/// not moved, or less than that is left of it. However many ask at once, never more than was taken.
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

/// Whether a charge by a payment method is not decided yet.
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
        "-- payments.movements.of_provider
        SELECT root_id, movement_id FROM payments.movements
        WHERE provider_code = $1 AND (provider_key = $2 OR (provider_id <> '' AND provider_id = ANY($3)))
        ORDER BY (provider_key = $2) DESC NULLS LAST LIMIT 1",
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

/// Forgets the pages that the payer of a root account was sent to and came back to.
pub async fn erase(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.movements.erase
        UPDATE payments.movements SET return_url = '', action_url = ''
        WHERE root_id = $1 AND (return_url <> '' OR action_url <> '')",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
