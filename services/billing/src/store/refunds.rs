//! `billing.refunds`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::domain::refund::State;

chassis::stored_as_text!(State, "billing.refunds.state");

/// A refund of credit to the payment that bought it, or of an invoice to its charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The root account.
    pub root_id: Uuid,
    /// Its id, which is also its `refund_key` at `payments`.
    pub refund_id: Uuid,
    /// The intent it is part of.
    pub intent_id: Uuid,
    /// The lot it was taken from; `None` for the refund of a credit note, or if it was taken from several lots.
    pub lot_id: Option<Uuid>,
    /// The charge it is refunded to; `None` if no charge paid for the credit.
    pub charge_id: Option<Uuid>,
    /// The currency.
    pub currency: String,
    /// Amount in minor units, tax included.
    pub amount_minor: i64,
    /// Tax in that amount, in minor units.
    pub tax_minor: i64,
    /// Fee withheld, in minor units.
    pub fee_minor: i64,
    /// Its state.
    pub state: State,
    /// Number of the current attempt, from 1.
    pub attempt_number: i32,
    /// How often `payments` has refused it.
    pub refusals: i32,
    /// Whether it is paid by bank transfer.
    pub manual: bool,
    /// The id of the refund at `payments`, once it has answered.
    pub payments_refund_id: Option<Uuid>,
    /// Day by which it is due to be paid out.
    pub due_on: NaiveDate,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// Adds a refund, to be requested from `payments` at once.
pub async fn insert(db: &mut PgConnection, refund: &Refund) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.refunds.insert
        INSERT INTO billing.refunds (root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, fee_minor,
                                     state, due_on, created_at, updated_at, try_at, tax_minor, manual)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11, $12, $13)",
        refund.root_id,
        refund.refund_id,
        refund.intent_id,
        refund.lot_id,
        refund.charge_id,
        refund.currency,
        refund.amount_minor,
        refund.fee_minor,
        refund.state.as_str(),
        refund.due_on,
        refund.created_at,
        refund.tax_minor,
        refund.manual
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The refund `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Refund>> {
    sqlx::query_as!(
        Refund,
        "-- billing.refunds.get
        SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, tax_minor, fee_minor, state,
               attempt_number, refusals, manual, payments_refund_id, due_on, created_at, updated_at
        FROM billing.refunds WHERE refund_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The refunds of an intent, in order of id.
pub async fn of_intent(db: &mut PgConnection, intent: Uuid) -> sqlx::Result<Vec<Refund>> {
    sqlx::query_as!(
        Refund,
        "-- billing.refunds.of_intent
        SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, tax_minor, fee_minor, state,
               attempt_number, refusals, manual, payments_refund_id, due_on, created_at, updated_at
        FROM billing.refunds WHERE intent_id = $1 ORDER BY refund_id",
        intent
    )
    .fetch_all(db)
    .await
}

/// The refund `id`; locks the row.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Refund>> {
    sqlx::query_as!(
        Refund,
        "-- billing.refunds.lock
        SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, tax_minor, fee_minor, state,
               attempt_number, refusals, manual, payments_refund_id, due_on, created_at, updated_at
        FROM billing.refunds WHERE refund_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` refunds due to be requested at `now`, oldest first. Each is reserved until `again_at` and is CREATED
/// until `payments` answers.
pub async fn take_to_ask(
    db: &mut PgConnection,
    (now, again_at): (DateTime<Utc>, DateTime<Utc>),
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.refunds.take_to_ask
        UPDATE billing.refunds SET try_at = $2, state = 'CREATED'
        WHERE refund_id IN (
            SELECT refund_id FROM billing.refunds WHERE state IN ('CREATED', 'RETRYING') AND try_at <= $1
            ORDER BY try_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING refund_id",
        now,
        again_at,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` refunds that `payments` executes without an event for ten minutes, and then every hour: root account and
/// id of the refund at `payments`. Each is reserved for an hour.
pub async fn take_to_look_at(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        r#"-- billing.refunds.take_to_look_at
        UPDATE billing.refunds SET look_at = clock_timestamp() + interval '1 hour'
        WHERE refund_id IN (
            SELECT refund_id FROM billing.refunds
            WHERE state IN ('PROCESSING', 'NEEDS_MANUAL') AND payments_refund_id IS NOT NULL
              AND look_at <= clock_timestamp()
            ORDER BY look_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, payments_refund_id AS "payments_refund_id!""#,
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.root_id, row.payments_refund_id))
        .collect())
}

/// The refunds among `ids`.
pub async fn get_all(db: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Refund>> {
    sqlx::query_as!(
        Refund,
        "-- billing.refunds.get_all
        SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, tax_minor, fee_minor, state,
               attempt_number, refusals, manual, payments_refund_id, due_on, created_at, updated_at
        FROM billing.refunds WHERE refund_id = ANY($1)",
        ids
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` refunds that `payments` has answered, created from `from` until before `until`, of one root account or of
/// all, after `after`, oldest first.
pub async fn submitted_between(
    db: &mut PgConnection,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    (root, after): (Option<Uuid>, Option<(DateTime<Utc>, Uuid)>),
    limit: i64,
) -> sqlx::Result<Vec<Refund>> {
    let (created_at, id) = after.unzip();
    sqlx::query_as!(
        Refund,
        "-- billing.refunds.submitted_between
        SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, tax_minor, fee_minor, state,
               attempt_number, refusals, manual, payments_refund_id, due_on, created_at, updated_at
        FROM billing.refunds
        WHERE $1 <= created_at AND created_at < $2 AND payments_refund_id IS NOT NULL
          AND ($3::uuid IS NULL OR root_id = $3)
          AND ($4::timestamptz IS NULL OR (created_at, refund_id) > ($4, $5::uuid))
        ORDER BY created_at, refund_id LIMIT $6",
        from,
        until,
        root,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// The refunds of a charge that have not been submitted; locks the rows.
pub async fn lock_waiting(db: &mut PgConnection, charge: Uuid) -> sqlx::Result<Vec<Refund>> {
    sqlx::query_as!(
        Refund,
        "-- billing.refunds.lock_waiting
        SELECT root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, tax_minor, fee_minor, state,
               attempt_number, refusals, manual, payments_refund_id, due_on, created_at, updated_at
        FROM billing.refunds WHERE charge_id = $1 AND state IN ('CREATED', 'RETRYING') FOR UPDATE",
        charge
    )
    .fetch_all(db)
    .await
}

/// Stores the changes of a refund, which is locked.
pub async fn set(
    db: &mut PgConnection,
    refund: &Refund,
    now: DateTime<Utc>,
    try_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.refunds.set
        UPDATE billing.refunds
        SET state = $2, attempt_number = $3, manual = $4, payments_refund_id = $5, updated_at = $6, try_at = $7,
            refusals = $8, look_at = clock_timestamp() + interval '10 minutes'
        WHERE refund_id = $1",
        refund.refund_id,
        refund.state.as_str(),
        refund.attempt_number,
        refund.manual,
        refund.payments_refund_id,
        now,
        try_at,
        refund.refusals
    )
    .execute(db)
    .await?;
    Ok(())
}

/// When a refund is to be requested next, up to `until`. One being requested counts as due.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.refunds.next_due
        SELECT min(least(try_at, $1)) FROM billing.refunds
        WHERE state = 'CREATED' OR (state = 'RETRYING' AND try_at <= $1)",
        until
    )
    .fetch_one(db)
    .await
}

/// The lots of paid credit of a root account with something left that money brought, newest first: each with what is
/// left, the charge that has paid for it, where one has, and the tax and the net sum that were booked with it. Where no
/// charge has, an operator has recorded the money, or it is a rest of such a refund. What a correction of usage has made
/// of no payment that is known is there at the `end` of an account only: whoever makes the transfer finds out who paid.
///
/// An amount already returned by refunds or disputes can't be refunded again: a lot is left out if the rest of its
/// charge doesn't cover it. `per_minor` is the number of millionths in a minor unit.
pub async fn refundable_lots(
    db: &mut PgConnection,
    (root, per_minor): (Uuid, i64),
    (end, now): (bool, DateTime<Utc>),
) -> sqlx::Result<Vec<Refundable>> {
    sqlx::query_as!(
        Refundable,
        r#"-- billing.lots.refundable
        SELECT l.lot_id, l.remaining_micros, l.created_at, c.charge_id AS "charge_id?", paid.tax AS "tax_minor!",
               paid.net AS "net_minor!"
        FROM billing.lots l
        LEFT JOIN billing.collections c ON c.collection_id = l.collection_id
        CROSS JOIN LATERAL (
            SELECT CASE WHEN c.state = 'SUCCEEDED' THEN
                       (SELECT coalesce(sum(t.amount_minor), 0)::bigint FROM billing.collection_taxes t
                        WHERE t.collection_id = c.collection_id)
                   ELSE 0 END AS tax,
                   (SELECT coalesce(sum(n.amount_minor), 0)::bigint FROM billing.collection_lines n
                    WHERE n.collection_id = c.collection_id) AS net,
                   (SELECT coalesce(sum(r.amount_minor), 0) FROM billing.refunds r
                    WHERE r.charge_id = c.charge_id AND r.state <> 'UNDONE')
                   + (SELECT coalesce(sum(d.withheld_minor), 0) FROM billing.disputes d
                      WHERE d.collection_id = c.collection_id AND 0 < d.taken_micros) AS gone
        ) paid
        WHERE l.root_id = $1 AND l.kind = 3 AND 0 < l.remaining_micros
          AND (l.expires_at IS NULL OR $2 < l.expires_at)
          AND (c.charge_id IS NOT NULL OR EXISTS (
              SELECT FROM billing.ledger_entries e
              WHERE e.root_id = l.root_id AND e.posted_at = l.created_at AND e.lot_id = l.lot_id AND e.credit = l.kind
                AND (e.reason IN ('GRANT', 'REFUND_UNDONE', 'REFUND_RETURNED') OR ($4 AND e.reason = 'USAGE_CORRECTED'))))
          -- What is paid out is rounded down twice: it can't be more than what is left of the charge.
          AND (paid.gone = 0 OR l.remaining_micros * (paid.net + paid.tax)::numeric
                                < (c.total_minor - paid.gone + 1) * paid.net * $3::bigint)
        ORDER BY l.created_at DESC, l.lot_id DESC"#,
        root,
        now,
        per_minor,
        end
    )
    .fetch_all(db)
    .await
}

/// A lot that can be refunded to its charge or by bank transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refundable {
    /// The lot.
    pub lot_id: Uuid,
    /// Unspent amount in millionths.
    pub remaining_micros: i64,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// The charge that paid for it, if any.
    pub charge_id: Option<Uuid>,
    /// Tax in the charge, in minor units.
    pub tax_minor: i64,
    /// Net amount of the charge, in minor units.
    pub net_minor: i64,
}

/// The open refunds of a root account, in order of id.
pub async fn open_of(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- billing.refunds.open_of
        SELECT refund_id FROM billing.refunds WHERE root_id = $1 AND state NOT IN ('SUCCEEDED', 'UNDONE')
        ORDER BY refund_id",
        root
    )
    .fetch_all(db)
    .await
}
