//! `billing.outbox`: news for other services (D21).

use chassis::Place;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::threshold::Crossing;

/// Balances that crossed a threshold.
#[derive(Debug, Default)]
pub struct Crossings {
    roots: Vec<Uuid>,
    balances_micros: Vec<i64>,
    codes: Vec<&'static str>,
    fell: Vec<bool>,
}

impl Crossings {
    /// Adds what a balance crossed.
    pub fn add(&mut self, root: Uuid, balance_micros: i64, crossed: Crossing) {
        self.roots.push(root);
        self.balances_micros.push(balance_micros);
        self.codes.push(crossed.threshold);
        self.fell.push(crossed.fell);
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }
}

/// Tells that balances crossed a threshold.
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

/// Tells that auto-recharge switched itself off, and why.
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

/// Tells that a renewal could not be paid: why, and when it is tried again; `None` where it was the last try.
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

/// Tells of an open invoice: that it was issued, or that it is overdue, and why it could not be paid.
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

/// Tells that a subscription has ended, as its renewal could not be paid.
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

/// What is told of an account's money, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its place in the order of news.
    pub position: i64,
    /// The root account.
    pub root_id: Uuid,
    /// `BALANCE_CROSSED`, `RENEWAL_FAILED`, `OPEN_INVOICE` or `AUTO_RECHARGE_DISABLED`.
    pub kind: String,
    /// The balance then, in millionths; 0 for other news.
    pub balance_micros: i64,
    /// The currency of its ledger.
    pub currency: String,
    /// What the balance crossed; empty for other news.
    pub threshold_code: String,
    /// Whether it fell below; of an invoice, whether it is overdue.
    pub fell: bool,
    /// The open invoice.
    pub invoice_id: Option<Uuid>,
    /// Why a renewal or an invoice could not be paid, or recharging was switched off.
    pub reason: String,
    /// When it is tried again; `None` for not any more.
    pub next_at: Option<DateTime<Utc>>,
}

/// Up to `limit` news of accounts of a place, in order (D21).
///
/// By the index of who wrote them: what is not told yet is at its end, wherever the positions are.
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
               o.invoice_id
        FROM billing.outbox o JOIN billing.balances b ON b.root_id = o.root_id
        WHERE o.kind IN ('BALANCE_CROSSED', 'RENEWAL_FAILED', 'OPEN_INVOICE', 'AUTO_RECHARGE_DISABLED')
          AND o.written_by >= pg_snapshot_xmin($1::text::pg_snapshot)
          AND NOT pg_visible_in_snapshot(o.written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(o.written_by, $2::text::pg_snapshot) AND $3 < o.position
        ORDER BY o.position + 0 LIMIT $4"#,
        place.told,
        place.telling,
        place.position,
        limit
    )
    .fetch_all(db)
    .await
}

/// Tells that a run has ended.
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
