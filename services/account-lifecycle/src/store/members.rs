//! `account.members`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A role that a user holds in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The root account.
    pub root_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// The user.
    pub user_id: Uuid,
    /// The role.
    pub role_code: String,
    /// Since when the role is held.
    pub granted_at: DateTime<Utc>,
}

/// Grants a role and returns the grant. If the user already holds the role, the earlier grant stays.
pub async fn grant(db: &mut PgConnection, member: &Member) -> sqlx::Result<Member> {
    sqlx::query!(
        "-- account.members.grant
        INSERT INTO account.members (root_id, account_id, user_id, role_code, granted_at)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        member.root_id,
        member.account_id,
        member.user_id,
        member.role_code,
        member.granted_at
    )
    .execute(&mut *db)
    .await?;
    sqlx::query_as!(
        Member,
        "-- account.members.get
        SELECT root_id, account_id, user_id, role_code, granted_at FROM account.members
        WHERE account_id = $1 AND user_id = $2 AND role_code = $3",
        member.account_id,
        member.user_id,
        member.role_code
    )
    .fetch_one(db)
    .await
}

/// Revokes a role; `false` if it was not held.
pub async fn revoke(
    db: &mut PgConnection,
    account: Uuid,
    user: Uuid,
    role: &str,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.members.revoke
        DELETE FROM account.members WHERE account_id = $1 AND user_id = $2 AND role_code = $3",
        account,
        user,
        role
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Counts the users who hold a role in an account.
pub async fn count(db: &mut PgConnection, account: Uuid, role: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.members.count
        SELECT count(*) AS "count!" FROM account.members WHERE account_id = $1 AND role_code = $2"#,
        account,
        role
    )
    .fetch_one(db)
    .await
}

/// The roles of a user in an account and in its root account.
pub async fn roles(
    db: &mut PgConnection,
    user: Uuid,
    account: Uuid,
    root: Uuid,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "-- account.members.roles
        SELECT DISTINCT role_code FROM account.members WHERE user_id = $1 AND account_id IN ($2, $3)",
        user,
        account,
        root
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` members of an account after `after`, by user and role.
pub async fn list(
    db: &mut PgConnection,
    account: Uuid,
    after: Option<(Uuid, String)>,
    limit: i64,
) -> sqlx::Result<Vec<Member>> {
    let (user, role) = after.unzip();
    sqlx::query_as!(
        Member,
        "-- account.members.list
        SELECT root_id, account_id, user_id, role_code, granted_at FROM account.members
        WHERE account_id = $1 AND ($2::uuid IS NULL OR (user_id, role_code) > ($2, $3::text))
        ORDER BY user_id, role_code LIMIT $4",
        account,
        user,
        role,
        limit
    )
    .fetch_all(db)
    .await
}

/// Revokes every role of a user.
pub async fn revoke_all(db: &mut PgConnection, user: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.members.revoke_all\nDELETE FROM account.members WHERE user_id = $1",
        user
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Revokes every role in an account except its owner's, who may still read the receipt.
pub async fn erase(db: &mut PgConnection, root: Uuid, owner: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.members.erase
        DELETE FROM account.members WHERE account_id = $1 AND user_id <> $2",
        root,
        owner
    )
    .execute(db)
    .await?;
    Ok(())
}
