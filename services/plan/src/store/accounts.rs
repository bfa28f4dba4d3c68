//! `plan.accounts`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use values::AccountId;

/// An account as plan knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Root account; the account itself for a root account.
    pub root: AccountId,
    /// Profile code.
    pub profile_code: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// When it was closed; `None` while it is open.
    pub closed_at: Option<DateTime<Utc>>,
}

impl Account {
    /// Whether it is there at `at`: before it was created and from its closing on nothing is in force for it, whatever
    /// its root has.
    pub fn is_there(&self, at: DateTime<Utc>) -> bool {
        self.created_at <= at && self.closed_at.is_none_or(|closed_at| at < closed_at)
    }
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

/// An account, with what else a change of its plan is decided by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changing {
    /// The account.
    pub account: Account,
    /// Whether it has not bought yet, as its owner told.
    pub is_trial: bool,
    /// The name of the catalogue version in force.
    pub active: Option<String>,
}

/// The account `id`, with what else a change of its plan is decided by.
pub async fn changing(db: &mut PgConnection, id: AccountId) -> sqlx::Result<Option<Changing>> {
    let row = sqlx::query!(
        r#"-- plan.accounts.changing
        SELECT root_id, profile_code, created_at, closed_at, 'TRIAL' = ANY (standings) AS "is_trial!",
               (SELECT version FROM plan.catalogues WHERE state = 'ACTIVE') AS active
        FROM plan.accounts WHERE account_id = $1"#,
        id.uuid()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Changing {
        account: Account {
            root: AccountId::from_uuid(row.root_id),
            profile_code: row.profile_code,
            created_at: row.created_at,
            closed_at: row.closed_at,
        },
        is_trial: row.is_trial,
        active: row.active,
    }))
}

/// All that an account stands in, as its owner told; an account that is not known stands in nothing.
pub async fn standings(db: &mut PgConnection, id: AccountId) -> sqlx::Result<Vec<String>> {
    let found = sqlx::query_scalar!(
        "-- plan.accounts.standings
        SELECT standings FROM plan.accounts WHERE account_id = $1",
        id.uuid()
    )
    .fetch_optional(db)
    .await?;
    Ok(found.unwrap_or_default())
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

/// Locks root accounts in order of their ids, so that concurrent callers can't deadlock. Returns those that exist.
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

/// Like [`lock`], and then marks this transaction as one that changes timelines, as [`hold`] does: by one statement, in
/// this order.
///
/// [`hold`]: super::segments::hold
pub async fn hold_timelines(
    db: &mut PgConnection,
    ids: &[AccountId],
) -> sqlx::Result<Vec<(AccountId, Account)>> {
    let ids: Vec<_> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"-- plan.accounts.hold_timelines
        SELECT account_id AS "account_id!", root_id AS "root_id!", profile_code AS "profile_code!",
               created_at AS "created_at!", closed_at
        FROM plan.hold_timelines($1)"#,
        &ids
    )
    .fetch_all(db)
    .await?;
    let accounts = rows.into_iter().map(|row| {
        let account = Account {
            root: AccountId::from_uuid(row.root_id),
            profile_code: row.profile_code,
            created_at: row.created_at,
            closed_at: row.closed_at,
        };
        (AccountId::from_uuid(row.account_id), account)
    });
    Ok(accounts.collect())
}
