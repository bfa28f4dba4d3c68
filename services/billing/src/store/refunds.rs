//! `billing.refunds`

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Credit that goes back to the payment it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The root account.
    pub root_id: Uuid,
    /// Its id, and its key at `payments`.
    pub refund_id: Uuid,
    /// The intent that it is a part of.
    pub intent_id: Uuid,
    /// The lot it was taken from.
    pub lot_id: Uuid,
    /// The charge that is given back.
    pub charge_id: Uuid,
    /// The currency.
    pub currency: String,
    /// What goes back, tax included.
    pub amount_minor: i64,
    /// The share of tax in it.
    pub tax_minor: i64,
    /// The fee that was kept of it.
    pub fee_minor: i64,
    /// CREATED, PROCESSING, RETRYING, `NEEDS_MANUAL`, SUCCEEDED or UNDONE.
    pub state: String,
    /// Which attempt.
    pub attempt_number: i32,
    /// How often `payments` would not take it.
    pub refusals: i32,
    /// Whether by a bank transfer.
    pub manual: bool,
    /// The refund of `payments`.
    pub payments_refund_id: Option<Uuid>,
    /// Until when it is paid out.
    pub due_on: NaiveDate,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// Adds a refund, to be asked for at once.
pub async fn insert(db: &mut PgConnection, refund: &Refund) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.refunds.insert
        INSERT INTO billing.refunds (root_id, refund_id, intent_id, lot_id, charge_id, currency, amount_minor, fee_minor,
                                     state, due_on, created_at, updated_at, try_at, tax_minor)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $11, $12)",
        refund.root_id,
        refund.refund_id,
        refund.intent_id,
        refund.lot_id,
        refund.charge_id,
        refund.currency,
        refund.amount_minor,
        refund.fee_minor,
        refund.state,
        refund.due_on,
        refund.created_at,
        refund.tax_minor
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

/// The refunds of an intent, in the order they were made.
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

/// The refund `id`, locked.
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

/// Up to `limit` refunds that are to be asked for at `now`, the oldest first; nobody else gets them
/// before `again_at`. They are CREATED until something is heard of them.
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

/// The refunds of a charge that are not on their way, locked.
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

/// Keeps how a refund that is locked stands.
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
            refusals = $8
        WHERE refund_id = $1",
        refund.refund_id,
        refund.state,
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

/// When a refund is to be asked for next, up to `until`; one that is being asked for is due.
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

/// The lots of paid credit of a root account that a charge has paid for, with something left, newest
/// first: each with what is left, its charge, and the tax and the net sum that were booked with it.
///
/// What its payer has had back of a charge, by refunds or disputes, is not there to go back again: a lot is left out
/// that the rest of its charge does not cover. `per_minor` are the millionths in a minor unit.
pub async fn refundable_lots(
    db: &mut PgConnection,
    (root, per_minor): (Uuid, i64),
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<Refundable>> {
    sqlx::query_as!(
        Refundable,
        r#"-- billing.lots.refundable
        SELECT l.lot_id, l.remaining_micros, l.created_at, c.charge_id AS "charge_id!", paid.tax AS "tax_minor!",
               paid.net AS "net_minor!"
        FROM billing.lots l
        JOIN billing.collections c ON c.collection_id = l.collection_id
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
        WHERE l.root_id = $1 AND l.kind = 3 AND 0 < l.remaining_micros AND c.charge_id IS NOT NULL
          AND (l.expires_at IS NULL OR $2 < l.expires_at)
          AND (paid.gone = 0 OR l.remaining_micros * (paid.net + paid.tax)::numeric
                                <= (c.total_minor - paid.gone) * paid.net * $3::bigint)
        ORDER BY l.created_at DESC, l.lot_id DESC"#,
        root,
        now,
        per_minor
    )
    .fetch_all(db)
    .await
}

/// A lot that can go back to its payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refundable {
    /// The lot.
    pub lot_id: Uuid,
    /// What is left of it.
    pub remaining_micros: i64,
    /// When it was paid.
    pub created_at: DateTime<Utc>,
    /// The charge that paid for it.
    pub charge_id: Uuid,
    /// The tax that the charge paid.
    pub tax_minor: i64,
    /// What it paid without tax.
    pub net_minor: i64,
}

/// The refunds of a root account that are not paid out.
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
