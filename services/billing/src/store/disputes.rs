//! `billing.disputes`

use sqlx::PgConnection;
use uuid::Uuid;

/// A contested charge, as far as it is booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The root account.
    pub root_id: Uuid,
    /// Its id, of payments.
    pub dispute_id: Uuid,
    /// The collection whose charge it is.
    pub collection_id: Uuid,
    /// What the provider holds back.
    pub withheld_minor: i64,
    /// What was taken back from the customer's balance.
    pub taken_micros: i64,
}

/// What is booked of a dispute; the account's balance is locked.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Booked>> {
    sqlx::query_as!(
        Booked,
        "-- billing.disputes.get
        SELECT root_id, dispute_id, collection_id, withheld_minor, taken_micros FROM billing.disputes
        WHERE dispute_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Keeps what is booked of a dispute.
pub async fn set(db: &mut PgConnection, it: &Booked) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.disputes.set
        INSERT INTO billing.disputes (root_id, dispute_id, collection_id, withheld_minor, taken_micros)
        VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (dispute_id) DO UPDATE SET withheld_minor = $4, taken_micros = $5",
        it.root_id,
        it.dispute_id,
        it.collection_id,
        it.withheld_minor,
        it.taken_micros
    )
    .execute(db)
    .await?;
    Ok(())
}
