//! `billing.subscriptions`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A plan that is paid in advance, and where its payment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The root account.
    pub root_id: Uuid,
    /// The family.
    pub family_code: String,
    /// ACTIVE, `PAST_DUE` or ENDING.
    pub state: String,
    /// Where the cycle begins that is to be paid next, or is being paid.
    pub cycle_start_at: DateTime<Utc>,
    /// Where the one after it begins; `None` until its payment is asked for.
    pub next_start_at: Option<DateTime<Utc>>,
    /// What asks for its payment.
    pub collection_id: Option<Uuid>,
    /// How many tries have failed by the payer's fault.
    pub retries: i32,
    /// When a job goes on; `None` while a payment is under way.
    pub due_at: Option<DateTime<Utc>>,
}

/// The subscription of an account in a family.
pub async fn get(
    db: &mut PgConnection,
    root: Uuid,
    family: &str,
) -> sqlx::Result<Option<Subscription>> {
    sqlx::query_as!(
        Subscription,
        "-- billing.subscriptions.get
        SELECT root_id, family_code, state, cycle_start_at, next_start_at, collection_id, retries, due_at
        FROM billing.subscriptions WHERE root_id = $1 AND family_code = $2",
        root,
        family
    )
    .fetch_optional(db)
    .await
}

/// The subscription of an account in a family, locked.
pub async fn lock(
    db: &mut PgConnection,
    root: Uuid,
    family: &str,
) -> sqlx::Result<Option<Subscription>> {
    sqlx::query_as!(
        Subscription,
        "-- billing.subscriptions.lock
        SELECT root_id, family_code, state, cycle_start_at, next_start_at, collection_id, retries, due_at
        FROM billing.subscriptions WHERE root_id = $1 AND family_code = $2 FOR UPDATE",
        root,
        family
    )
    .fetch_optional(db)
    .await
}

/// The subscription whose cycle a collection pays for, locked.
pub async fn lock_of(
    db: &mut PgConnection,
    collection: Uuid,
) -> sqlx::Result<Option<Subscription>> {
    sqlx::query_as!(
        Subscription,
        "-- billing.subscriptions.lock_of
        SELECT root_id, family_code, state, cycle_start_at, next_start_at, collection_id, retries, due_at
        FROM billing.subscriptions WHERE collection_id = $1 FOR UPDATE",
        collection
    )
    .fetch_optional(db)
    .await
}

/// One that a job goes on with at `now`, the longest due first.
pub async fn due(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Option<Subscription>> {
    sqlx::query_as!(
        Subscription,
        "-- billing.subscriptions.due
        SELECT root_id, family_code, state, cycle_start_at, next_start_at, collection_id, retries, due_at
        FROM billing.subscriptions WHERE due_at <= $1 ORDER BY due_at LIMIT 1",
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
        "-- billing.subscriptions.next_due\nSELECT min(due_at) FROM billing.subscriptions WHERE due_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// Keeps a subscription in the place of what is kept of it.
pub async fn set(db: &mut PgConnection, it: &Subscription) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.subscriptions.set
        INSERT INTO billing.subscriptions (root_id, family_code, state, cycle_start_at, next_start_at, collection_id,
                                           retries, due_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (root_id, family_code) DO UPDATE
        SET state = $3, cycle_start_at = $4, next_start_at = $5, collection_id = $6, retries = $7, due_at = $8",
        it.root_id,
        it.family_code,
        it.state,
        it.cycle_start_at,
        it.next_start_at,
        it.collection_id,
        it.retries,
        it.due_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets the subscriptions of an account that closes.
pub async fn delete_all(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.subscriptions.delete_all\nDELETE FROM billing.subscriptions WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets a subscription that has ended.
pub async fn delete(db: &mut PgConnection, root: Uuid, family: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.subscriptions.delete
        DELETE FROM billing.subscriptions WHERE root_id = $1 AND family_code = $2",
        root,
        family
    )
    .execute(db)
    .await?;
    Ok(())
}
