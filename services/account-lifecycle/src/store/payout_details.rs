//! `account.payout_details`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Where refunds are paid out to, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutDetails {
    /// The root account.
    pub root_id: Uuid,
    /// The encrypted text.
    pub sealed: Vec<u8>,
    /// The key that decrypts it.
    pub key: Vec<u8>,
    /// When the details were given.
    pub given_at: DateTime<Utc>,
}

/// The payout details of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<PayoutDetails>> {
    sqlx::query_as!(
        PayoutDetails,
        "-- account.payout_details.get
        SELECT root_id, sealed, key, given_at FROM account.payout_details WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Inserts or replaces payout details.
pub async fn set(db: &mut PgConnection, it: &PayoutDetails) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.payout_details.set
        INSERT INTO account.payout_details (root_id, sealed, key, given_at, look_at) VALUES ($1, $2, $3, $4, $4)
        ON CONFLICT (root_id) DO UPDATE SET sealed = $2, key = $3, given_at = $4, look_at = $4",
        it.root_id,
        it.sealed,
        it.key,
        it.given_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Payout details due for the check whether they can be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The root account.
    pub root_id: Uuid,
    /// When the details were given; tells them from details given later.
    pub given_at: DateTime<Utc>,
}

/// Formats the root account id, which is the key under which jobs claim the row.
impl std::fmt::Display for Due {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root_id.fmt(f)
    }
}

/// Up to `limit` closed root accounts whose payout details are due for a check at `now`.
pub async fn to_look_at(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Due>> {
    sqlx::query_as!(
        Due,
        "-- account.payout_details.to_look_at
        SELECT p.root_id, p.given_at FROM account.payout_details p
        JOIN account.closings c ON c.account_id = p.root_id AND c.state = 'DONE'
        WHERE p.look_at <= $1
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'erase_payout_details' AND c.key = p.root_id::text
                        AND clock_timestamp() < c.held_until)
        ORDER BY p.look_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// Schedules the next check.
pub async fn look_at(db: &mut PgConnection, root: Uuid, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.payout_details.look_at\nUPDATE account.payout_details SET look_at = $2 WHERE root_id = $1",
        root,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes payout details with their key. `false` if they have been replaced since.
pub async fn erase(db: &mut PgConnection, of: Due) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.payout_details.erase
        DELETE FROM account.payout_details WHERE root_id = $1 AND given_at = $2",
        of.root_id,
        of.given_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
