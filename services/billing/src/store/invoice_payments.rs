//! `billing.invoice_payments`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

/// A payment of an open invoice received outside the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvoicePayment {
    /// Its id.
    pub payment_id: Uuid,
    /// The root account.
    pub root_id: Uuid,
    /// The invoice.
    pub invoice_id: Uuid,
    /// Amount in minor units.
    pub amount_minor: i64,
    /// The bank's reference, unique per root account.
    pub reference: String,
    /// The day it arrived.
    pub received_on: NaiveDate,
    /// Who recorded it.
    pub recorded_by: String,
    /// Time of recording.
    pub recorded_at: DateTime<Utc>,
}

/// The payment of an account with a bank reference.
pub async fn get(
    db: &mut PgConnection,
    root: Uuid,
    reference: &str,
) -> sqlx::Result<Option<InvoicePayment>> {
    sqlx::query_as!(
        InvoicePayment,
        "-- billing.invoice_payments.get
        SELECT payment_id, root_id, invoice_id, amount_minor, reference, received_on, recorded_by, recorded_at
        FROM billing.invoice_payments WHERE root_id = $1 AND reference = $2",
        root,
        reference
    )
    .fetch_optional(db)
    .await
}

/// Adds a payment.
pub async fn insert(db: &mut PgConnection, it: &InvoicePayment) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoice_payments.insert
        INSERT INTO billing.invoice_payments (payment_id, root_id, invoice_id, amount_minor, reference, received_on,
                                              recorded_by, recorded_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        it.payment_id,
        it.root_id,
        it.invoice_id,
        it.amount_minor,
        it.reference,
        it.received_on,
        it.recorded_by,
        it.recorded_at
    )
    .execute(db)
    .await?;
    Ok(())
}
