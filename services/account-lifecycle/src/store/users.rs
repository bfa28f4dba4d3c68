//! `account.users`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub user_id: Uuid,
    /// Its address.
    pub email: String,
    /// Its name.
    pub display_name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Adds a user; `false` when its id or its address is taken.
pub async fn insert(db: &mut PgConnection, user: &User) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.users.insert
        INSERT INTO account.users (user_id, email, display_name, created_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT DO NOTHING",
        user.user_id,
        user.email,
        user.display_name,
        user.created_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The user `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        "-- account.users.get\nSELECT user_id, email, display_name, created_at FROM account.users WHERE user_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` users before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    before: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<User>> {
    sqlx::query_as!(
        User,
        "-- account.users.list
        SELECT user_id, email, display_name, created_at FROM account.users
        WHERE $1::uuid IS NULL OR user_id < $1 ORDER BY user_id DESC LIMIT $2",
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// The user `id`, kept from being deleted until the end of this transaction.
pub async fn hold(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- account.users.hold\nSELECT user_id FROM account.users WHERE user_id = $1 FOR KEY SHARE",
        id
    )
    .fetch_optional(db)
    .await
}

/// The user `id`, locked.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- account.users.lock\nSELECT user_id FROM account.users WHERE user_id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(db)
    .await
}

/// Deletes a user.
pub async fn delete(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.users.delete\nDELETE FROM account.users WHERE user_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}
