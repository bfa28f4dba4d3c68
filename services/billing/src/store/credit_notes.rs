//! `billing.credit_notes`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A credit note as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreditNote {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub credit_note_id: Uuid,
    /// Its series.
    pub series_id: i32,
    /// Its number in the series.
    pub number: i64,
    /// The invoice.
    pub invoice_id: Uuid,
    /// The currency.
    pub currency: String,
    /// Amount in minor units, tax included.
    pub amount_minor: i64,
    /// The tax in it; `None` if it was not kept.
    pub tax_minor: Option<i64>,
    /// The reason given.
    pub reason: String,
    /// Who issued it.
    pub created_by: String,
    /// Time of issue.
    pub issued_at: DateTime<Utc>,
}

/// Adds a credit note.
pub async fn insert(db: &mut PgConnection, note: &CreditNote) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.credit_notes.insert
        INSERT INTO billing.credit_notes (root_id, credit_note_id, series_id, number, invoice_id, currency, amount_minor,
                                          reason, created_by, issued_at, tax_minor)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        note.root_id,
        note.credit_note_id,
        note.series_id,
        note.number,
        note.invoice_id,
        note.currency,
        note.amount_minor,
        note.reason,
        note.created_by,
        note.issued_at,
        note.tax_minor
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` credit notes before `before`, newest first; of a root account or of all.
pub async fn list(
    db: &mut PgConnection,
    root: Option<Uuid>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<CreditNote>> {
    let (issued_at, id) = before.unzip();
    sqlx::query_as!(
        CreditNote,
        "-- billing.credit_notes.list
        SELECT root_id, credit_note_id, series_id, number, invoice_id, currency, amount_minor, tax_minor, reason,
               created_by, issued_at
        FROM billing.credit_notes
        WHERE ($1::uuid IS NULL OR root_id = $1)
          AND ($2::timestamptz IS NULL OR (issued_at, credit_note_id) < ($2, $3::uuid))
        ORDER BY issued_at DESC, credit_note_id DESC LIMIT $4",
        root,
        issued_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// The credit notes of an invoice, oldest first.
pub async fn of_invoice(db: &mut PgConnection, invoice: Uuid) -> sqlx::Result<Vec<CreditNote>> {
    sqlx::query_as!(
        CreditNote,
        "-- billing.credit_notes.of_invoice
        SELECT root_id, credit_note_id, series_id, number, invoice_id, currency, amount_minor, tax_minor, reason,
               created_by, issued_at
        FROM billing.credit_notes WHERE invoice_id = $1 ORDER BY issued_at, credit_note_id",
        invoice
    )
    .fetch_all(db)
    .await
}
