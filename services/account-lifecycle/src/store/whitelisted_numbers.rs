//! `account.whitelisted_numbers`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use crate::domain::whitelist::Listed;

/// Inserts a number. `false` if the root account already has it whitelisted.
pub async fn insert(db: &mut PgConnection, it: &Listed) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.whitelisted_numbers.insert
        INSERT INTO account.whitelisted_numbers (root_id, account_id, number_id, number, created_at, code_digest,
            code_expires_at, codes_since, codes_sent, codes_wrong)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        it.root_id,
        it.account_id,
        it.number_id,
        it.number,
        it.created_at,
        it.code_digest,
        it.code_expires_at,
        it.codes_since,
        it.codes_sent,
        it.codes_wrong
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The whitelist entry `id`, unless it has been removed.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Listed>> {
    sqlx::query_as!(
        Listed,
        "-- account.whitelisted_numbers.get
        SELECT root_id, account_id, number_id, number, created_at, code_digest, code_expires_at, codes_since, codes_sent,
               codes_wrong, verified_at
        FROM account.whitelisted_numbers WHERE number_id = $1 AND removed_at IS NULL",
        id
    )
    .fetch_optional(db)
    .await
}

/// The latest entry of a number for a root account, removed ones included.
pub async fn last(
    db: &mut PgConnection,
    (root, number): (Uuid, &str),
) -> sqlx::Result<Option<Listed>> {
    sqlx::query_as!(
        Listed,
        "-- account.whitelisted_numbers.last
        SELECT root_id, account_id, number_id, number, created_at, code_digest, code_expires_at, codes_since, codes_sent,
               codes_wrong, verified_at
        FROM account.whitelisted_numbers WHERE root_id = $1 AND number = $2 ORDER BY created_at DESC, number_id DESC LIMIT 1",
        root,
        number
    )
    .fetch_optional(db)
    .await
}

/// Counts the numbers that a root account has added since an instant, removed ones included.
pub async fn added_since(
    db: &mut PgConnection,
    root: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.whitelisted_numbers.added_since
        SELECT count(*) AS "added!" FROM account.whitelisted_numbers WHERE root_id = $1 AND $2 < created_at"#,
        root,
        since
    )
    .fetch_one(db)
    .await
}

/// Stores the state of a number's verification code.
pub async fn set(db: &mut PgConnection, it: &Listed) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.whitelisted_numbers.set
        UPDATE account.whitelisted_numbers
        SET code_digest = $2, code_expires_at = $3, codes_since = $4, codes_sent = $5, codes_wrong = $6, verified_at = $7
        WHERE number_id = $1",
        it.number_id,
        it.code_digest,
        it.code_expires_at,
        it.codes_since,
        it.codes_sent,
        it.codes_wrong,
        it.verified_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` whitelisted numbers of a root account before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    root: Uuid,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Listed>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Listed,
        "-- account.whitelisted_numbers.list
        SELECT root_id, account_id, number_id, number, created_at, code_digest, code_expires_at, codes_since, codes_sent,
               codes_wrong, verified_at
        FROM account.whitelisted_numbers
        WHERE root_id = $1 AND removed_at IS NULL
          AND ($2::timestamptz IS NULL OR (created_at, number_id) < ($2, $3::uuid))
        ORDER BY created_at DESC, number_id DESC LIMIT $4",
        root,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Counts the whitelisted numbers of a root account.
pub async fn count(db: &mut PgConnection, root: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.whitelisted_numbers.count
        SELECT count(*) AS "listed!" FROM account.whitelisted_numbers WHERE root_id = $1 AND removed_at IS NULL"#,
        root
    )
    .fetch_one(db)
    .await
}

/// Whether a number was whitelisted and verified at an instant.
pub async fn is_verified_at(
    db: &mut PgConnection,
    (root, number): (Uuid, &str),
    at: DateTime<Utc>,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.whitelisted_numbers.is_verified_at
        SELECT EXISTS (
            SELECT FROM account.whitelisted_numbers
            WHERE root_id = $1 AND number = $2 AND verified_at <= $3 AND (removed_at IS NULL OR $3 < removed_at)
        ) AS "verified!""#,
        root,
        number,
        at
    )
    .fetch_one(db)
    .await
}

/// Removes a number from the whitelist.
pub async fn remove(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.whitelisted_numbers.remove
        UPDATE account.whitelisted_numbers SET removed_at = $2 WHERE number_id = $1 AND removed_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
