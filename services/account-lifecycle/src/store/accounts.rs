//! `account.accounts`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use crate::domain::account::Account;

/// Adds an account.
pub async fn insert(db: &mut PgConnection, account: &Account) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.insert
        INSERT INTO account.accounts (root_id, account_id, parent_id, profile_code, display_name, owner_id, type,
                                      invoiced, currency, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        account.root_id,
        account.account_id,
        account.parent_id,
        account.profile_code,
        account.display_name,
        account.owner_id,
        account.r#type,
        account.invoiced,
        account.currency,
        account.created_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The account `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        "-- account.accounts.get
        SELECT root_id, account_id, parent_id, profile_code, display_name, owner_id, type, invoiced, currency,
               created_at, opened_at
        FROM account.accounts WHERE account_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Notes that the other services have opened an account.
pub async fn set_opened(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_opened
        UPDATE account.accounts SET opened_at = $2 WHERE account_id = $1 AND opened_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes an account FULL, which a TRIAL becomes by its first purchase (D5).
pub async fn set_full(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_full\nUPDATE account.accounts SET type = 'FULL' WHERE account_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes how an account pays.
pub async fn set_invoiced(db: &mut PgConnection, id: Uuid, invoiced: bool) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_invoiced\nUPDATE account.accounts SET invoiced = $2 WHERE account_id = $1",
        id,
        invoiced
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many subaccounts a root has.
pub async fn count_subaccounts(db: &mut PgConnection, root: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.accounts.count_subaccounts
        SELECT count(*) AS "count!" FROM account.accounts WHERE root_id = $1 AND parent_id IS NOT NULL"#,
        root
    )
    .fetch_one(db)
    .await
}

/// Locks a root account, so that its subaccounts are counted and added one at a time.
pub async fn lock(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!("-- account.accounts.lock\nSELECT account_id FROM account.accounts WHERE account_id = $1 FOR UPDATE", root)
        .fetch_optional(db)
        .await?;
    Ok(())
}

/// Up to `limit` open accounts before `before`, newest first; of a parent, a profile, a member, or
/// of all.
pub async fn list(
    db: &mut PgConnection,
    (parent, profile, member): (Option<Uuid>, Option<&str>, Option<Uuid>),
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Account>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Account,
        "-- account.accounts.list
        SELECT root_id, account_id, parent_id, profile_code, display_name, owner_id, type, invoiced, currency,
               created_at, opened_at
        FROM account.accounts a
        WHERE opened_at IS NOT NULL AND ($1::uuid IS NULL OR parent_id = $1) AND ($2::text IS NULL OR profile_code = $2)
          AND ($3::uuid IS NULL OR EXISTS (
                SELECT FROM account.members m WHERE m.user_id = $3 AND m.account_id IN (a.account_id, a.root_id)))
          AND ($4::timestamptz IS NULL OR (created_at, account_id) < ($4, $5::uuid))
        ORDER BY created_at DESC, account_id DESC LIMIT $6",
        parent,
        profile,
        member,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` accounts that the other services have not opened yet, the oldest first.
pub async fn to_open(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as!(
        Account,
        "-- account.accounts.to_open
        SELECT root_id, account_id, parent_id, profile_code, display_name, owner_id, type, invoiced, currency,
               created_at, opened_at
        FROM account.accounts WHERE opened_at IS NULL ORDER BY created_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}
