//! `billing.subscriptions`

use std::fmt;

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::subscription::State;

chassis::stored_as_text!(State, "billing.subscriptions.state");

/// A plan paid in advance and the state of its renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The root account.
    pub root_id: Uuid,
    /// The family.
    pub family_code: String,
    /// How its renewal stands.
    pub state: State,
    /// Start of the cycle to be paid next or being paid.
    pub cycle_start_at: DateTime<Utc>,
    /// Start of the following cycle; `None` until the payment of this one is requested.
    pub next_start_at: Option<DateTime<Utc>>,
    /// The collection that charges the cycle, if any.
    pub collection_id: Option<Uuid>,
    /// Number of failed attempts that the payer caused.
    pub retries: i32,
    /// When a job processes it next; `None` while a payment is under way.
    pub due_at: Option<DateTime<Utc>>,
}

/// Shows root and family, which are the key of its work.
impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.root_id, self.family_code)
    }
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

/// The subscription of an account in a family; locks the row.
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

/// The subscriptions of an account; locks the rows.
pub async fn lock_all(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Vec<Subscription>> {
    sqlx::query_as!(
        Subscription,
        "-- billing.subscriptions.lock_all
        SELECT root_id, family_code, state, cycle_start_at, next_start_at, collection_id, retries, due_at
        FROM billing.subscriptions WHERE root_id = $1 ORDER BY family_code FOR UPDATE",
        root
    )
    .fetch_all(db)
    .await
}

/// The subscription whose cycle a collection pays for; locks the row.
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

/// Up to `limit` subscriptions due at `now` that no worker holds, longest due first.
pub async fn due(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Subscription>> {
    sqlx::query_as!(
        Subscription,
        "-- billing.subscriptions.due
        SELECT root_id, family_code, state, cycle_start_at, next_start_at, collection_id, retries, due_at
        FROM billing.subscriptions
        WHERE due_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'renew' AND c.key = root_id::text || ' ' || family_code
                            AND clock_timestamp() < c.held_until)
        ORDER BY due_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// The next time a subscription is due, up to `until`.
pub async fn next_due(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.subscriptions.next_due
        SELECT min(due_at) FROM billing.subscriptions
        WHERE due_at <= $1
          AND NOT EXISTS (SELECT FROM billing.job_claims c WHERE c.job = 'renew' AND c.key = root_id::text || ' ' || family_code
                            AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// Inserts or replaces the subscription of an account in a family.
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
        it.state.as_str(),
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

/// Deletes the subscriptions of a closing account.
pub async fn delete_all(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.subscriptions.delete_all\nDELETE FROM billing.subscriptions WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes an ended subscription.
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
