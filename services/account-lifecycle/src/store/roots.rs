//! `account.roots`: the root account and the standings of each account. Readable before a tenant is entered.

use chassis::PgConnection;
use uuid::Uuid;
use values::AccountId;

pub use crate::domain::account::Stands;

/// Adds an account to a root; `false` where its id is known.
pub async fn insert(
    db: &mut PgConnection,
    account: AccountId,
    root: AccountId,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.roots.insert\nINSERT INTO account.roots (account_id, root_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        account.uuid(),
        root.uuid()
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The root account of an account; `None` for an unknown account.
pub async fn of(db: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- account.roots.of\nSELECT root_id FROM account.roots WHERE account_id = $1",
        account.uuid()
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` accounts whose standings the other services have yet to receive, of one root or of all; only accounts
/// that are open there. Root accounts come first, since their closing also closes their subaccounts.
pub async fn to_tell(
    db: &mut PgConnection,
    root: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Stands>> {
    sqlx::query_as!(
        Stands,
        "-- account.roots.to_tell
        SELECT r.account_id, r.standings, r.limited_at, r.standing_revision
        FROM account.roots r JOIN account.accounts a ON a.account_id = r.account_id
        WHERE r.told_revision < r.standing_revision AND a.opened_at IS NOT NULL AND ($1::uuid IS NULL OR r.root_id = $1)
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'tell_standings' AND c.key = r.account_id::text
                            AND clock_timestamp() < c.held_until)
        ORDER BY r.account_id <> r.root_id, r.account_id LIMIT $2",
        root,
        limit
    )
    .fetch_all(db)
    .await
}

/// The standings of an account that the other services have yet to receive; `None` if they are up to date.
pub async fn untold(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Stands>> {
    sqlx::query_as!(
        Stands,
        "-- account.roots.untold
        SELECT account_id, standings, limited_at, standing_revision FROM account.roots
        WHERE account_id = $1 AND told_revision < standing_revision",
        account
    )
    .fetch_optional(db)
    .await
}

/// Records the standing revision that the other services have received.
pub async fn set_told(db: &mut PgConnection, account: Uuid, revision: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.roots.set_told
        UPDATE account.roots SET told_revision = greatest(told_revision, $2) WHERE account_id = $1",
        account,
        revision
    )
    .execute(db)
    .await?;
    Ok(())
}
