//! `billing.voided_credits`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A void of granted credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoidedCredit {
    /// Its id.
    pub void_id: Uuid,
    /// The root account.
    pub root_id: Uuid,
    /// The lot.
    pub lot_id: Uuid,
    /// Amount in millionths.
    pub amount_micros: i64,
    /// The reason given.
    pub reason: String,
    /// Who voided it.
    pub voided_by: String,
    /// Time of the void.
    pub voided_at: DateTime<Utc>,
}

/// Adds a void.
pub async fn insert(db: &mut PgConnection, it: &VoidedCredit) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.voided_credits.insert
        INSERT INTO billing.voided_credits (void_id, root_id, lot_id, amount_micros, reason, voided_by, voided_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
        it.void_id,
        it.root_id,
        it.lot_id,
        it.amount_micros,
        it.reason,
        it.voided_by,
        it.voided_at
    )
    .execute(db)
    .await?;
    Ok(())
}
