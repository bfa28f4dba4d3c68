//! `account.notifications`

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A notification as stored.
#[derive(Clone, PartialEq)]
pub struct Notification {
    /// The root account.
    pub root_id: Uuid,
    /// The account that it tells of.
    pub account_id: Uuid,
    /// Its id.
    pub notification_id: Uuid,
    /// What it tells of, the same on every retry.
    pub event_key: String,
    /// Its kind, such as `ACCOUNT_CLOSED`.
    pub kind_code: String,
    /// The address.
    pub email: String,
    /// `[{"name", "value"}, …]`
    pub facts: Value,
    /// A code that is in it; empty for none, and once sent.
    pub secret: String,
    /// The invoice that goes with it.
    pub invoice_id: Option<Uuid>,
    /// PENDING, SENT or FAILED.
    pub state: String,
    /// How often sending was tried.
    pub attempt_count: i32,
    /// When its event happened.
    pub created_at: DateTime<Utc>,
    /// When it was sent.
    pub sent_at: Option<DateTime<Utc>>,
}

/// Adds a notification, unless its event was told.
pub async fn insert(db: &mut PgConnection, it: &Notification) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.insert
        INSERT INTO account.notifications (root_id, account_id, notification_id, event_key, kind_code, email, facts, secret,
                                           invoice_id, state, attempt_count, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'PENDING', 0, $10) ON CONFLICT (event_key) DO NOTHING",
        it.root_id,
        it.account_id,
        it.notification_id,
        it.event_key,
        it.kind_code,
        it.email,
        it.facts,
        it.secret,
        it.invoice_id,
        it.created_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` notifications of an account before `before`, newest first, of a kind or of all.
pub async fn list(
    db: &mut PgConnection,
    (account, kind): (Uuid, Option<&str>),
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Notification>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Notification,
        "-- account.notifications.list
        SELECT root_id, account_id, notification_id, event_key, kind_code, email, facts, secret, invoice_id, state,
               attempt_count, created_at, sent_at
        FROM account.notifications
        WHERE account_id = $1 AND ($2::text IS NULL OR kind_code = $2)
          AND ($3::timestamptz IS NULL OR (created_at, notification_id) < ($3, $4::uuid))
        ORDER BY created_at DESC, notification_id DESC LIMIT $5",
        account,
        kind,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// A notification that is to be sent now, its try counted; nobody else gets it for `lease` seconds.
pub async fn take(db: &mut PgConnection, lease: i64) -> sqlx::Result<Option<Notification>> {
    sqlx::query_as!(
        Notification,
        "-- account.notifications.take
        UPDATE account.notifications
        SET attempt_count = attempt_count + 1,
            look_at = clock_timestamp() + make_interval(secs => $1::bigint::double precision)
        WHERE notification_id = (
            SELECT notification_id FROM account.notifications
            WHERE state = 'PENDING' AND look_at <= clock_timestamp()
            ORDER BY look_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, account_id, notification_id, event_key, kind_code, email, facts, secret, invoice_id, state,
                  attempt_count, created_at, sent_at",
        lease
    )
    .fetch_optional(db)
    .await
}

/// Notes that a notification was sent, or given up; its code is forgotten.
pub async fn end(
    db: &mut PgConnection,
    id: Uuid,
    sent_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.end
        UPDATE account.notifications
        SET state = CASE WHEN $2::timestamptz IS NULL THEN 'FAILED' ELSE 'SENT' END, sent_at = $2, secret = ''
        WHERE notification_id = $1 AND state = 'PENDING'",
        id,
        sent_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Lets a notification be tried again in `pause` seconds.
pub async fn put_off(db: &mut PgConnection, id: Uuid, pause: i64) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.put_off
        UPDATE account.notifications
        SET look_at = clock_timestamp() + make_interval(secs => $2::bigint::double precision)
        WHERE notification_id = $1 AND state = 'PENDING'",
        id,
        pause
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a notification is being sent, or is about to be for the first time: asked by a test clock, which
/// waits for it.
pub async fn any_due(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.notifications.any_due
        SELECT EXISTS (
            SELECT FROM account.notifications WHERE state = 'PENDING' AND attempt_count <= 1
        ) AS "due!""#
    )
    .fetch_one(db)
    .await
}

/// Erases whom accounts were told what; what was not sent by now is not.
pub async fn erase(db: &mut PgConnection, accounts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.erase
        UPDATE account.notifications
        SET email = '', facts = '[]', secret = '', state = CASE state WHEN 'PENDING' THEN 'FAILED' ELSE state END
        WHERE account_id = ANY($1)",
        accounts
    )
    .execute(db)
    .await?;
    Ok(())
}
