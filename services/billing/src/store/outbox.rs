//! `billing.outbox`: events for other services (D21).

use chassis::{PgConnection, Place};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::account_event::Kind;
use crate::domain::dispute;
use crate::domain::threshold::Crossing;

chassis::stored_as_text!(Kind, "billing.outbox.kind");

/// A batch of threshold crossings.
#[derive(Debug, Default)]
pub struct Crossings {
    roots: Vec<Uuid>,
    balances_micros: Vec<i64>,
    codes: Vec<&'static str>,
    fell: Vec<bool>,
}

impl Crossings {
    /// Adds a crossing.
    pub fn add(&mut self, root: Uuid, balance_micros: i64, crossed: Crossing) {
        self.roots.push(root);
        self.balances_micros.push(balance_micros);
        self.codes.push(crossed.threshold);
        self.fell.push(crossed.fell);
    }

    /// Whether the batch is empty.
    pub const fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }
}

/// Publishes crossings of balance thresholds.
pub async fn balances_crossed(
    db: &mut PgConnection,
    crossings: &Crossings,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    if crossings.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "-- billing.outbox.balances_crossed
        INSERT INTO billing.outbox (root_id, kind, balance_micros, threshold_code, fell, created_at)
        SELECT root_id, 'BALANCE_CROSSED', micros, code, fell, $5
        FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::boolean[]) AS d (root_id, micros, code, fell)",
    )
    .bind(&crossings.roots)
    .bind(&crossings.balances_micros)
    .bind(&crossings.codes)
    .bind(&crossings.fell)
    .bind(now)
    .execute(db)
    .await?;
    Ok(())
}

/// Publishes that auto-recharge was switched off, with the reason.
pub async fn recharge_disabled(
    db: &mut PgConnection,
    root: Uuid,
    reason: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.recharge_disabled
        INSERT INTO billing.outbox (root_id, kind, reason, created_at) VALUES ($1, 'AUTO_RECHARGE_DISABLED', $2, $3)",
        root,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Publishes that auto-recharge is paused until an instant.
pub async fn recharge_paused(
    db: &mut PgConnection,
    root: Uuid,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.recharge_paused
        INSERT INTO billing.outbox (root_id, kind, next_at, created_at) VALUES ($1, 'AUTO_RECHARGE_PAUSED', $2, $3)",
        root,
        until,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Publishes a failed renewal with its reason and the time of the next attempt; `None` after the last one.
pub async fn renewal_failed(
    db: &mut PgConnection,
    root: Uuid,
    (reason, next_at): (&str, Option<DateTime<Utc>>),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.renewal_failed
        INSERT INTO billing.outbox (root_id, kind, fell, reason, next_at, created_at)
        VALUES ($1, 'RENEWAL_FAILED', $3::timestamptz IS NULL, $2, $3, $4)",
        root,
        reason,
        next_at,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Publishes that an open invoice was issued, or that its payment failed and it is overdue, with the reason.
pub async fn open_invoice(
    db: &mut PgConnection,
    (root, invoice): (Uuid, Uuid),
    (overdue, reason): (bool, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.open_invoice
        INSERT INTO billing.outbox (root_id, kind, invoice_id, fell, reason, created_at)
        VALUES ($1, 'OPEN_INVOICE', $2, $3, $4, $5)",
        root,
        invoice,
        overdue,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Publishes a payment of an open invoice.
pub async fn payment_received(
    db: &mut PgConnection,
    (root, invoice): (Uuid, Uuid),
    minor: i64,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.payment_received
        INSERT INTO billing.outbox (root_id, kind, invoice_id, amount_minor, created_at)
        VALUES ($1, 'PAYMENT_RECEIVED', $2, $3, $4)",
        root,
        invoice,
        minor,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A dispute that was opened or decided, as it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disputed {
    /// The root account.
    pub root: Uuid,
    /// The state that it has reached.
    pub state: dispute::State,
    /// The disputed amount, in minor units.
    pub amount_minor: i64,
    /// Until when evidence can be given; `None` if none is accepted.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// Credit that was taken from the balance or given back to it, in millionths.
    pub credit_micros: i64,
}

/// Publishes that a dispute was opened or decided.
pub async fn disputed(
    db: &mut PgConnection,
    it: &Disputed,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.disputed
        INSERT INTO billing.outbox (root_id, kind, reason, amount_minor, next_at, balance_micros, created_at)
        VALUES ($1, 'DISPUTE', $2, $3, $4, $5, $6)",
        it.root,
        it.state.as_str(),
        it.amount_minor,
        it.evidence_due_at,
        it.credit_micros,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Publishes that a subscription ended because its renewal was not paid.
pub async fn subscription_ended(
    db: &mut PgConnection,
    root: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.subscription_ended
        INSERT INTO billing.outbox (root_id, kind, created_at) VALUES ($1, 'SUBSCRIPTION_ENDED', $2)",
        root,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// An event about an account's balance, renewal, invoice or dispute, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its position in the outbox.
    pub position: i64,
    /// The root account.
    pub root_id: Uuid,
    /// What it is about.
    pub kind: Kind,
    /// The balance after the crossing, or the credit that a dispute moved, in millionths; 0 for other events.
    pub balance_micros: i64,
    /// The currency of its ledger.
    pub currency: String,
    /// The crossed threshold; empty for other events.
    pub threshold_code: String,
    /// Whether the balance fell below the threshold; for an invoice, whether it is overdue.
    pub fell: bool,
    /// The invoice, if any.
    pub invoice_id: Option<Uuid>,
    /// Why a renewal or an invoice was not paid, or auto-recharge was switched off; the state of a dispute.
    pub reason: String,
    /// Time of the next attempt, end of a pause, or deadline for evidence; `None` if there is none.
    pub next_at: Option<DateTime<Utc>>,
    /// What was paid of an invoice, or is disputed, in minor units; 0 for other events.
    pub amount_minor: i64,
}

impl Told {
    /// The state of the dispute that it tells of.
    pub fn dispute_state(&self) -> sqlx::Result<dispute::State> {
        let (all, found) = (dispute::State::ALL, self.reason.as_str());
        let known = chassis::stored(all, dispute::State::as_str, &found, "billing.outbox.reason");
        known.map_err(|error| sqlx::Error::Decode(Box::new(error)))
    }
}

/// Up to `limit` account events after a place, in order (D21).
///
/// A window starts at the first position not delivered yet, which the index on the writing transaction finds:
/// undelivered rows are at its end, whatever their positions. From there on, pages follow the positions, so the cost
/// of a page does not depend on the number of rows waiting behind it.
pub async fn of_accounts(
    db: &mut PgConnection,
    place: &Place,
    limit: i64,
) -> sqlx::Result<Vec<Told>> {
    sqlx::query_as!(
        Told,
        r#"-- billing.outbox.of_accounts
        SELECT o.position, o.root_id AS "root_id!", o.kind, coalesce(o.balance_micros, 0) AS "balance_micros!", b.currency,
               coalesce(o.threshold_code, '') AS "threshold_code!", coalesce(o.fell, false) AS "fell!", o.reason, o.next_at,
               o.invoice_id, coalesce(o.amount_minor, 0) AS "amount_minor!"
        FROM billing.outbox o JOIN billing.balances b ON b.root_id = o.root_id
        WHERE o.kind IN ('BALANCE_CROSSED', 'RENEWAL_FAILED', 'OPEN_INVOICE', 'PAYMENT_RECEIVED', 'DISPUTE',
                         'AUTO_RECHARGE_DISABLED', 'AUTO_RECHARGE_PAUSED')
          AND NOT pg_visible_in_snapshot(o.written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(o.written_by, $2::text::pg_snapshot)
          AND o.position > CASE WHEN 0 < $3::bigint THEN $3::bigint ELSE (
                SELECT coalesce(min(u.position + 0) - 1, 9223372036854775807) FROM billing.outbox u
                WHERE u.written_by >= pg_snapshot_xmin($1::text::pg_snapshot)
                  AND NOT pg_visible_in_snapshot(u.written_by, $1::text::pg_snapshot)) END
        ORDER BY o.position LIMIT $4"#,
        place.told,
        place.telling,
        place.position,
        limit
    )
    .fetch_all(db)
    .await
}

/// Publishes that a run has completed.
pub async fn run_completed(
    db: &mut PgConnection,
    run: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.outbox.run_completed
        INSERT INTO billing.outbox (kind, run_id, created_at) VALUES ('RUN_COMPLETED', $1, $2)",
        run,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
