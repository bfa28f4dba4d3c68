//! `plan.accounts`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use values::AccountId;

/// An account as plan knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its root; itself for a root account.
    pub root: AccountId,
    /// Its profile.
    pub profile_code: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was closed; `None` while it is open.
    pub closed_at: Option<DateTime<Utc>>,
}

/// Adds an account; `false` when the id is there already.
pub async fn insert(db: &mut PgConnection, id: AccountId, account: &Account) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- plan.accounts.insert
        INSERT INTO plan.accounts (account_id, root_id, profile_code, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING",
        id.uuid(),
        account.root.uuid(),
        account.profile_code,
        account.created_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The account `id`.
pub async fn get(db: &mut PgConnection, id: AccountId) -> sqlx::Result<Option<Account>> {
    let row = sqlx::query!(
        "-- plan.accounts.get
        SELECT root_id, profile_code, created_at, closed_at FROM plan.accounts WHERE account_id = $1",
        id.uuid()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Account {
        root: AccountId::from_uuid(row.root_id),
        profile_code: row.profile_code,
        created_at: row.created_at,
        closed_at: row.closed_at,
    }))
}

/// Notes that an account, and with a root its subaccounts, closed.
pub async fn close(db: &mut PgConnection, id: AccountId, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.accounts.close
        UPDATE plan.accounts SET closed_at = $2 WHERE (account_id = $1 OR root_id = $1) AND closed_at IS NULL",
        id.uuid(),
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks root accounts in order of their ids, so that two who lock several never wait in a circle;
/// gives those that exist.
pub async fn lock(
    db: &mut PgConnection,
    ids: &[AccountId],
) -> sqlx::Result<Vec<(AccountId, Account)>> {
    let ids: Vec<_> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        "-- plan.accounts.lock
        SELECT account_id, root_id, profile_code, created_at, closed_at FROM plan.accounts
        WHERE account_id = ANY($1) ORDER BY account_id FOR NO KEY UPDATE",
        &ids
    )
    .fetch_all(db)
    .await?;
    let accounts = rows.into_iter().map(|row| {
        let root = AccountId::from_uuid(row.root_id);
        let account = Account {
            root,
            profile_code: row.profile_code,
            created_at: row.created_at,
            closed_at: row.closed_at,
        };
        (AccountId::from_uuid(row.account_id), account)
    });
    Ok(accounts.collect())
}
