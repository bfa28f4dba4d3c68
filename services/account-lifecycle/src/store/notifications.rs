//! `account.notifications`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;
use values::UserId;

use crate::domain::notice::Kind;
use crate::domain::notification::State;

chassis::stored_as_text!(Kind, "account.notifications.kind_code");
chassis::stored_as_text!(State, "account.notifications.state");

/// A notification as stored.
#[derive(Clone, PartialEq)]
pub struct Notification {
    /// The root account; the nil id, like `account_id`, for a mail about a login.
    pub root_id: Uuid,
    /// Account concerned.
    pub account_id: Uuid,
    /// Notification id.
    pub notification_id: Uuid,
    /// Identity of the event, the same on every retry.
    pub event_key: String,
    /// What it is about.
    pub kind_code: Kind,
    /// Recipient's email address.
    pub email: String,
    /// `[{"name", "value"}, …]`
    pub facts: Value,
    /// Verification code to send; empty for none, and once sent.
    pub secret: String,
    /// Invoice to attach.
    pub invoice_id: Option<Uuid>,
    /// State.
    pub state: State,
    /// Delivery attempts so far.
    pub attempt_count: i32,
    /// Time of the event.
    pub created_at: DateTime<Utc>,
    /// Time of delivery to the mail server.
    pub sent_at: Option<DateTime<Utc>>,
}

impl Notification {
    /// Its facts, each a name and a value; none once erased.
    pub fn facts(&self) -> Vec<(&str, &str)> {
        let facts = self.facts.as_array().into_iter().flatten();
        facts
            .filter_map(|it| Some((it.get("name")?.as_str()?, it.get("value")?.as_str()?)))
            .collect()
    }
}

/// Inserts a notification, unless there is one for its event.
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
        it.kind_code.as_str(),
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

/// Up to `limit` notifications of an account before `before`, newest first; of one kind or all.
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

/// Leases a notification that is due, for `lease` seconds, and counts the attempt.
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

/// Marks a notification as sent or failed, and erases its code; `sent_at` is the time of delivery. A former address is
/// erased once it has been told: nobody writes to it again, and its user may be deleted before the account. A new one is
/// erased in either case: it may never be confirmed, and a code is not sent again.
pub async fn end(
    db: &mut PgConnection,
    id: Uuid,
    state: State,
    sent_at: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.end
        UPDATE account.notifications
        SET state = $3, sent_at = $2, secret = '',
            email = CASE WHEN kind_code = 'EMAIL_CONFIRM' OR kind_code = 'EMAIL_CHANGED' AND $2::timestamptz IS NOT NULL
                         THEN '' ELSE email END
        WHERE notification_id = $1 AND state = 'PENDING'",
        id,
        sent_at,
        state.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Erases the former and new addresses of a user who is deleted, from the mails about the login; one that is not sent yet
/// is given up. All tenants are entered.
pub async fn forget_addresses(db: &mut PgConnection, user: UserId) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.forget_addresses
        UPDATE account.notifications
        SET email = '', secret = '', state = CASE state WHEN 'PENDING' THEN 'FAILED' ELSE state END
        WHERE kind_code IN ('EMAIL_CHANGED', 'EMAIL_CONFIRM') AND event_key LIKE 'address of ' || $1 || ' %'",
        user.to_string()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes a failed notification pending again, with its attempts counted anew.
pub async fn again(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.notifications.again
        UPDATE account.notifications SET state = 'PENDING', attempt_count = 0, look_at = clock_timestamp()
        WHERE notification_id = $1 AND state = 'FAILED'",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Schedules the next attempt in `pause` seconds.
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

/// Whether a notification is pending that has been tried at most once. The test clock waits for these.
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
