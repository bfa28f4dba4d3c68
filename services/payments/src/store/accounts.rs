//! `payments.accounts` and `payments.roots`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Tenant, enter};

/// An account as payments knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its root; itself for a root account.
    pub root_id: Uuid,
    /// Its id.
    pub account_id: Uuid,
    /// Its profile.
    pub profile_code: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// The billing country; empty before it is known.
    pub country_code: String,
}

/// The root of an account.
pub async fn root_of(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- payments.roots.of\nSELECT root_id FROM payments.roots WHERE account_id = $1",
        account
    )
    .fetch_optional(db)
    .await
}

/// Adds an account, unless it is there, and gives the one that is. The transaction is then in the
/// tenant of its root.
pub async fn open(db: &mut PgConnection, account: &Account) -> sqlx::Result<Option<Account>> {
    enter(db, Tenant::Root(account.root_id)).await?;
    sqlx::query!(
        "-- payments.roots.insert\nINSERT INTO payments.roots (account_id, root_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        account.account_id,
        account.root_id
    )
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "-- payments.accounts.insert
        INSERT INTO payments.accounts (root_id, account_id, profile_code, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING",
        account.root_id,
        account.account_id,
        account.profile_code,
        account.created_at
    )
    .execute(&mut *db)
    .await?;
    get(db, account.account_id).await
}

/// The account `id` of the tenant.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        "-- payments.accounts.get
        SELECT root_id, account_id, profile_code, created_at, country_code FROM payments.accounts WHERE account_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Locks an account of the tenant: who changes its methods changes them alone.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.accounts.lock
        SELECT account_id FROM payments.accounts WHERE account_id = $1 FOR NO KEY UPDATE",
        id
    )
    .fetch_optional(db)
    .await?;
    Ok(())
}

/// Sets the billing country of an account of the tenant.
pub async fn set_country(db: &mut PgConnection, id: Uuid, country: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.accounts.set_country\nUPDATE payments.accounts SET country_code = $2 WHERE account_id = $1",
        id,
        country
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that an account of the tenant is deleted.
pub async fn set_erased(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.accounts.set_erased
        UPDATE payments.accounts SET erased_at = $2 WHERE account_id = $1 AND erased_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
