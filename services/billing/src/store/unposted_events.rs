//! `billing.unposted_events`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A quarantined payment event: one that could not be posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpostedEvent {
    /// The root account.
    pub root_id: Uuid,
    /// The id of the charge, refund or dispute it reports.
    pub subject_id: String,
    /// Why the last attempt to post it failed.
    pub reason: String,
    /// Time of quarantine.
    pub set_aside_at: DateTime<Utc>,
    /// Number of retries.
    pub attempt_count: i32,
    /// Time of the next retry by a job, by the database's clock.
    pub try_at: DateTime<Utc>,
    /// Time of posting; `None` until then.
    pub posted_at: Option<DateTime<Utc>>,
}

/// Quarantines an event, including one posted since an earlier quarantine. An event still waiting keeps its retry
/// count and schedule.
pub async fn insert(
    db: &mut PgConnection,
    (root, subject): (Uuid, &str),
    reason: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.unposted_events.insert
        INSERT INTO billing.unposted_events AS u (root_id, subject_id, reason, set_aside_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (root_id, subject_id) DO UPDATE
        SET reason = EXCLUDED.reason,
            set_aside_at = CASE WHEN u.posted_at IS NULL THEN u.set_aside_at ELSE EXCLUDED.set_aside_at END,
            attempt_count = CASE WHEN u.posted_at IS NULL THEN u.attempt_count ELSE 0 END,
            try_at = CASE WHEN u.posted_at IS NULL THEN u.try_at ELSE EXCLUDED.try_at END,
            posted_at = NULL",
        root,
        subject,
        reason,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The quarantined event of a charge, refund or dispute.
pub async fn get(
    db: &mut PgConnection,
    root: Uuid,
    subject: &str,
) -> sqlx::Result<Option<UnpostedEvent>> {
    sqlx::query_as!(
        UnpostedEvent,
        "-- billing.unposted_events.get
        SELECT root_id, subject_id, reason, set_aside_at, attempt_count, try_at, posted_at
        FROM billing.unposted_events WHERE root_id = $1 AND subject_id = $2",
        root,
        subject
    )
    .fetch_optional(db)
    .await
}

/// The event due longest for a retry, with the retry counted. It is reserved until its next retry: the first is a
/// minute after the quarantine, and the delay doubles each time up to an hour.
pub async fn take(db: &mut PgConnection) -> sqlx::Result<Option<UnpostedEvent>> {
    sqlx::query_as!(
        UnpostedEvent,
        "-- billing.unposted_events.take
        UPDATE billing.unposted_events
        SET attempt_count = attempt_count + 1,
            try_at = clock_timestamp() + make_interval(secs => least(3600, 120 * 2 ^ least(attempt_count, 5)))
        WHERE (root_id, subject_id) = (
            SELECT root_id, subject_id FROM billing.unposted_events
            WHERE posted_at IS NULL AND try_at <= clock_timestamp()
            ORDER BY try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING root_id, subject_id, reason, set_aside_at, attempt_count, try_at, posted_at"
    )
    .fetch_optional(db)
    .await
}

/// Marks an event as posted.
pub async fn post(
    db: &mut PgConnection,
    (root, subject): (Uuid, &str),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.unposted_events.post
        UPDATE billing.unposted_events SET posted_at = $3
        WHERE root_id = $1 AND subject_id = $2 AND posted_at IS NULL",
        root,
        subject,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Stores why the last attempt to post an event failed.
pub async fn set_reason(
    db: &mut PgConnection,
    (root, subject): (Uuid, &str),
    reason: &str,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.unposted_events.set_reason
        UPDATE billing.unposted_events SET reason = $3 WHERE root_id = $1 AND subject_id = $2",
        root,
        subject,
        reason
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` events before `before`, newest first, of one root account or of all, optionally including posted
/// ones.
pub async fn list(
    db: &mut PgConnection,
    (root, posted_too): (Option<Uuid>, bool),
    before: Option<(DateTime<Utc>, String)>,
    limit: i64,
) -> sqlx::Result<Vec<UnpostedEvent>> {
    let (set_aside_at, subject) = before.unzip();
    sqlx::query_as!(
        UnpostedEvent,
        "-- billing.unposted_events.list
        SELECT root_id, subject_id, reason, set_aside_at, attempt_count, try_at, posted_at
        FROM billing.unposted_events
        WHERE ($1::uuid IS NULL OR root_id = $1) AND ($2::boolean OR posted_at IS NULL)
          AND ($3::timestamptz IS NULL OR (set_aside_at, subject_id) < ($3, $4::text))
        ORDER BY set_aside_at DESC, subject_id DESC LIMIT $5",
        root,
        posted_too,
        set_aside_at,
        subject,
        limit
    )
    .fetch_all(db)
    .await
}
