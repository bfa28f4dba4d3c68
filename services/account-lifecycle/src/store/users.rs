//! `account.users`: a statement sees the one user whom it is about, or all where its transaction entered all tenants.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A user as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub user_id: Uuid,
    /// Email address.
    pub email: String,
    /// Name.
    pub display_name: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// Inserts a user. `false` if the id or the email address is taken.
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
        r#"-- account.users.get
        SELECT user_id AS "user_id!", email AS "email!", display_name AS "display_name!", created_at AS "created_at!"
        FROM account.user_seen($1, 'NONE')"#,
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` users before `before`, newest first. All tenants are entered.
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

/// The user with an e-mail address, whatever the case of its letters. All tenants are entered.
pub async fn with_email(db: &mut PgConnection, email: &str) -> sqlx::Result<Option<User>> {
    sqlx::query_as!(
        User,
        "-- account.users.with_email
        SELECT user_id, email, display_name, created_at FROM account.users WHERE email_folded = lower($1::text)",
        email
    )
    .fetch_optional(db)
    .await
}

/// Locks the user `id` against deletion (`FOR KEY SHARE`) until the transaction ends; `None` if there is none.
pub async fn hold(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        r#"-- account.users.hold
        SELECT user_id AS "user_id!" FROM account.user_seen($1, 'HOLD')"#,
        id
    )
    .fetch_optional(db)
    .await
}

/// Locks the user `id` for update; `None` if there is none.
pub async fn lock(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        r#"-- account.users.lock
        SELECT user_id AS "user_id!" FROM account.user_seen($1, 'LOCK')"#,
        id
    )
    .fetch_optional(db)
    .await
}

/// Changes the name and the address of a user. All tenants are entered.
pub async fn update(db: &mut PgConnection, user: &User) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.users.update
        UPDATE account.users SET email = $2, display_name = $3 WHERE user_id = $1",
        user.user_id,
        user.email,
        user.display_name
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes a user. All tenants are entered.
pub async fn delete(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.users.delete\nDELETE FROM account.users WHERE user_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}
