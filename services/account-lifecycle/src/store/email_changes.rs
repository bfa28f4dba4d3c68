//! `account.email_changes`: all tenants are entered.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use crate::domain::email_change::EmailChange;

/// The change of a user's address that was asked for last, unless it has been deleted since.
pub async fn get(db: &mut PgConnection, user: Uuid) -> sqlx::Result<Option<EmailChange>> {
    sqlx::query_as!(
        EmailChange,
        "-- account.email_changes.get
        SELECT user_id, email, code_digest, code_expires_at, codes_since, codes_sent, codes_wrong, confirmed_at
        FROM account.email_changes WHERE user_id = $1",
        user
    )
    .fetch_optional(db)
    .await
}

/// Stores the change of a user's address, in place of the one before.
pub async fn set(db: &mut PgConnection, it: &EmailChange) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.email_changes.set
        INSERT INTO account.email_changes (user_id, email, code_digest, code_expires_at, codes_since, codes_sent,
                                           codes_wrong, confirmed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (user_id) DO UPDATE
        SET email = $2, code_digest = $3, code_expires_at = $4, codes_since = $5, codes_sent = $6, codes_wrong = $7,
            confirmed_at = $8",
        it.user_id,
        it.email,
        it.code_digest,
        it.code_expires_at,
        it.codes_since,
        it.codes_sent,
        it.codes_wrong,
        it.confirmed_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes the change of a user who is deleted.
pub async fn delete(db: &mut PgConnection, user: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.email_changes.delete\nDELETE FROM account.email_changes WHERE user_id = $1",
        user
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes up to `limit` changes whose code has expired; returns how many.
pub async fn expire(db: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> sqlx::Result<u64> {
    let done = sqlx::query!(
        "-- account.email_changes.expire
        DELETE FROM account.email_changes WHERE user_id IN (
            SELECT user_id FROM account.email_changes
            WHERE code_expires_at <= $1 ORDER BY code_expires_at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now,
        limit
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

/// When the next code expires, up to `until`.
pub async fn next_expiry(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.email_changes.next_expiry
        SELECT min(code_expires_at) FROM account.email_changes WHERE code_expires_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}
