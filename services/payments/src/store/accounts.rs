//! `payments.accounts` and `payments.roots`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Tenant, enter};

/// An account as payments knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Root account; equal to `account_id` for a root account.
    pub root_id: Uuid,
    /// Account id.
    pub account_id: Uuid,
    /// Profile code.
    pub profile_code: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Billing country; empty until it is known.
    pub country_code: String,
}

/// The root account of an account; `None` for an unknown account.
pub async fn root_of(db: &mut PgConnection, account: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- payments.roots.of\nSELECT root_id FROM payments.roots WHERE account_id = $1",
        account
    )
    .fetch_optional(db)
    .await
}

/// Inserts an account, unless it exists, and returns the stored one. Enters the tenant of its root account.
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

/// The account `id`, within the tenant.
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

/// Locks an account within the tenant, which serializes changes to its payment methods.
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

/// Sets the billing country of an account within the tenant.
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

/// Marks an account within the tenant as erased.
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
