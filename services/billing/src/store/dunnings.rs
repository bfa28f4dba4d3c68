//! `billing.dunnings`

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// How an open invoice is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dunning {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its root account.
    pub root_id: Uuid,
    /// The day on which it is charged, or asked for again.
    pub due_on: NaiveDate,
    /// ISSUED, TOLD or OVERDUE.
    pub state: String,
    /// How many tries have failed since it was due.
    pub retries: i32,
    /// When a job goes on; `None` while a payment is under way, and when there is nothing more to do.
    pub next_at: Option<DateTime<Utc>>,
}

/// Adds those of invoices, with the root account and the last day of each: to be told of `now`.
pub async fn insert(
    db: &mut PgConnection,
    issued: &[(Uuid, Uuid, NaiveDate)],
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    if issued.is_empty() {
        return Ok(());
    }
    let invoices: Vec<Uuid> = issued.iter().map(|(invoice, _, _)| *invoice).collect();
    let roots: Vec<Uuid> = issued.iter().map(|(_, root, _)| *root).collect();
    let days: Vec<NaiveDate> = issued.iter().map(|(_, _, due_on)| *due_on).collect();
    sqlx::query!(
        "-- billing.dunnings.insert
        INSERT INTO billing.dunnings (invoice_id, root_id, due_on, state, next_at)
        SELECT invoice_id, root_id, due_on, 'ISSUED', $4
        FROM unnest($1::uuid[], $2::uuid[], $3::date[]) AS d (invoice_id, root_id, due_on)",
        &invoices,
        &roots,
        &days,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// One that a job goes on with at `now`, the longest due first.
pub async fn next(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Option<Dunning>> {
    sqlx::query_as!(
        Dunning,
        "-- billing.dunnings.next
        SELECT invoice_id, root_id, due_on, state, retries, next_at FROM billing.dunnings
        WHERE next_at <= $1 ORDER BY next_at LIMIT 1",
        now
    )
    .fetch_optional(db)
    .await
}

/// When a job goes on next, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.dunnings.next_due\nSELECT min(next_at) FROM billing.dunnings WHERE next_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// That of an invoice, locked.
pub async fn lock(db: &mut PgConnection, invoice: Uuid) -> sqlx::Result<Option<Dunning>> {
    sqlx::query_as!(
        Dunning,
        "-- billing.dunnings.lock
        SELECT invoice_id, root_id, due_on, state, retries, next_at FROM billing.dunnings
        WHERE invoice_id = $1 FOR UPDATE",
        invoice
    )
    .fetch_optional(db)
    .await
}

/// Keeps how an invoice is asked for.
pub async fn set(db: &mut PgConnection, it: &Dunning) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.dunnings.set
        UPDATE billing.dunnings SET state = $2, retries = $3, next_at = $4 WHERE invoice_id = $1",
        it.invoice_id,
        it.state,
        it.retries,
        it.next_at
    )
    .execute(db)
    .await?;
    Ok(())
}
