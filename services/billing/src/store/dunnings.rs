//! `billing.dunnings`

use std::fmt;

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use crate::domain::dunning::State;

chassis::stored_as_text!(State, "billing.dunnings.state");

/// The dunning of an open invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dunning {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its root account.
    pub root_id: Uuid,
    /// The due date, on which it is charged.
    pub due_on: NaiveDate,
    /// How far it has come.
    pub state: State,
    /// Number of failed attempts since the due date.
    pub retries: i32,
    /// When a job processes it next; `None` while a payment is under way or if nothing is left to do.
    pub next_at: Option<DateTime<Utc>>,
}

/// Shows the invoice's id, which is the key of its work.
impl fmt::Display for Dunning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.invoice_id, f)
    }
}

/// Adds dunnings for invoices, given with root account and due date. The owners are notified from `now`.
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

/// Up to `limit` dunnings due at `now` that no worker holds, longest due first.
pub async fn due(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Dunning>> {
    sqlx::query_as!(
        Dunning,
        "-- billing.dunnings.due
        SELECT invoice_id, root_id, due_on, state, retries, next_at FROM billing.dunnings
        WHERE next_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'dun' AND c.key = invoice_id::text
                            AND clock_timestamp() < c.held_until)
        ORDER BY next_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The next time a dunning is due, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.dunnings.next_due
        SELECT min(next_at) FROM billing.dunnings
        WHERE next_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'dun' AND c.key = invoice_id::text
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// The dunning of an invoice; locks the row.
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

/// Stores the changes of a dunning, which is locked.
pub async fn set(db: &mut PgConnection, it: &Dunning) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.dunnings.set
        UPDATE billing.dunnings SET state = $2, retries = $3, next_at = $4 WHERE invoice_id = $1",
        it.invoice_id,
        it.state.as_str(),
        it.retries,
        it.next_at
    )
    .execute(db)
    .await?;
    Ok(())
}
