//! `billing.disputes`

use chassis::PgConnection;
use uuid::Uuid;

use crate::domain::dispute::State;

chassis::stored_as_text!(State, "billing.disputes.told_state");

/// The posted part of a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The root account.
    pub root_id: Uuid,
    /// The dispute's id at `payments`.
    pub dispute_id: Uuid,
    /// The collection whose charge is disputed.
    pub collection_id: Uuid,
    /// Amount withheld by the provider, in minor units.
    pub withheld_minor: i64,
    /// Credit clawed back from the customer's balance, in millionths.
    pub taken_micros: i64,
    /// The state that the outbox told of last; `None` before the first.
    pub told_state: Option<State>,
}

/// The posted part of a dispute. The account's balance is locked.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Booked>> {
    sqlx::query_as!(
        Booked,
        "-- billing.disputes.get
        SELECT root_id, dispute_id, collection_id, withheld_minor, taken_micros, told_state FROM billing.disputes
        WHERE dispute_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Stores the posted part of a dispute.
pub async fn set(db: &mut PgConnection, it: &Booked) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.disputes.set
        INSERT INTO billing.disputes (root_id, dispute_id, collection_id, withheld_minor, taken_micros, told_state)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (dispute_id) DO UPDATE SET withheld_minor = $4, taken_micros = $5, told_state = $6",
        it.root_id,
        it.dispute_id,
        it.collection_id,
        it.withheld_minor,
        it.taken_micros,
        it.told_state.map(State::as_str)
    )
    .execute(db)
    .await?;
    Ok(())
}
