//! `account.roots`: ids only, read before a tenant is entered.

use sqlx::PgConnection;
use uuid::Uuid;
use values::AccountId;

/// Adds an account to a root.
pub async fn insert(
    db: &mut PgConnection,
    account: AccountId,
    root: AccountId,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.roots.insert\nINSERT INTO account.roots (account_id, root_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        account.uuid(),
        root.uuid()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The root of an account.
pub async fn of(db: &mut PgConnection, account: AccountId) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- account.roots.of\nSELECT root_id FROM account.roots WHERE account_id = $1",
        account.uuid()
    )
    .fetch_optional(db)
    .await
}
