//! `payments.webhook_events`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::webhook::{Change, Reason, Run, State};

chassis::stored_as_text!(State, "payments.webhook_events.state");
chassis::stored_as_text!(Reason, "payments.webhook_events.failure_reason");

/// A webhook event of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Event id.
    pub webhook_event_id: Uuid,
    /// Provider code.
    pub provider_code: String,
    /// Provider's id of the event.
    pub provider_event_id: String,
    /// Event type in the provider's terms.
    pub event_type: String,
    /// Provider's id of the object concerned.
    pub object_id: String,
    /// Provider's id of the object's parent.
    pub parent_id: String,
    /// Our reference; empty if the event does not carry it.
    pub reference: String,
    /// State.
    pub state: State,
    /// Movement concerned.
    pub movement_id: Option<Uuid>,
    /// Deliveries so far.
    pub delivery_count: i32,
    /// Processing attempts so far.
    pub attempt_count: i32,
    /// Reason of `Failed` or `Ignored`; `None` otherwise.
    pub failure_reason: Option<Reason>,
    /// Time of the first delivery.
    pub received_at: DateTime<Utc>,
    /// Time of the last attempt.
    pub processed_at: Option<DateTime<Utc>>,
}

/// Inserts an event, or counts another delivery of a known one.
pub async fn receive(db: &mut PgConnection, event: &Event) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.webhook_events.receive
        INSERT INTO payments.webhook_events AS e (webhook_event_id, provider_code, provider_event_id, event_type,
            object_id, parent_id, reference, state, received_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (provider_code, provider_event_id) DO UPDATE SET delivery_count = e.delivery_count + 1",
        event.webhook_event_id,
        event.provider_code,
        event.provider_event_id,
        event.event_type,
        event.object_id,
        event.parent_id,
        event.reference,
        event.state.as_str(),
        event.received_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The event `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Event>> {
    sqlx::query_as!(
        Event,
        "-- payments.webhook_events.get
        SELECT webhook_event_id, provider_code, provider_event_id, event_type, object_id, parent_id, reference, state,
               movement_id, delivery_count, attempt_count, failure_reason, received_at, processed_at
        FROM payments.webhook_events WHERE webhook_event_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` subjects with events that are due, longest waiting first, apart from those that a worker has claimed.
pub async fn due(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<String>> {
    // One subject often has many events, so more events are read than subjects are returned.
    sqlx::query_scalar!(
        r#"-- payments.webhook_events.due
        SELECT subject AS "subject!" FROM (
            SELECT subject, try_at FROM payments.webhook_events e
            WHERE state IN ('RECEIVED', 'FAILED') AND try_at <= clock_timestamp()
              AND NOT EXISTS (SELECT FROM payments.job_claims c WHERE c.job = 'process_webhooks' AND c.key = e.subject
                                AND clock_timestamp() < c.held_until)
            ORDER BY try_at LIMIT 16 * $1::bigint
        ) longest
        GROUP BY subject ORDER BY min(try_at) LIMIT $1"#,
        limit
    )
    .fetch_all(db)
    .await
}

/// The due events of a subject, in order of arrival.
pub async fn of_subject(db: &mut PgConnection, subject: &str) -> sqlx::Result<Vec<Event>> {
    sqlx::query_as!(
        Event,
        "-- payments.webhook_events.of_subject
        SELECT webhook_event_id, provider_code, provider_event_id, event_type, object_id, parent_id, reference, state,
               movement_id, delivery_count, attempt_count, failure_reason, received_at, processed_at
        FROM payments.webhook_events
        WHERE subject = $1 AND state IN ('RECEIVED', 'FAILED') AND try_at <= clock_timestamp()
        ORDER BY received_at, webhook_event_id",
        subject
    )
    .fetch_all(db)
    .await
}

/// The outcome of processing an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processed {
    /// New state, and its reason.
    pub change: Change,
    /// Movement concerned.
    pub movement_id: Option<Uuid>,
    /// Seconds until a failed event is retried.
    pub wait_seconds: i32,
}

/// Records the outcome of processing events of one subject. A terminal state stays, unless the run is a replay: a slow
/// worker must not undo what another has come to meanwhile.
pub async fn processed(
    db: &mut PgConnection,
    ids: &[Uuid],
    run: Run,
    it: &Processed,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.webhook_events.processed
        UPDATE payments.webhook_events
        SET state = $2, movement_id = coalesce($3, movement_id), failure_reason = $4, attempt_count = attempt_count + 1,
            processed_at = $5, try_at = clock_timestamp() + make_interval(secs => $6::int)
        WHERE webhook_event_id = ANY($1) AND ($7 OR state IN ('RECEIVED', 'FAILED'))",
        ids,
        it.change.state.as_str(),
        it.movement_id,
        it.change.reason.map_or("", Reason::as_str),
        now,
        it.wait_seconds,
        matches!(run, Run::Replay)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes all failed events of a provider due now.
pub async fn process_all(db: &mut PgConnection, provider: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.webhook_events.process_all
        UPDATE payments.webhook_events SET try_at = clock_timestamp()
        WHERE webhook_event_id IN (
            SELECT webhook_event_id FROM payments.webhook_events
            WHERE provider_code = $1 AND state = 'FAILED' AND clock_timestamp() < try_at
            ORDER BY webhook_event_id FOR NO KEY UPDATE)",
        provider
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether an event is due.
pub async fn any_due(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.webhook_events.any_due
        SELECT EXISTS (SELECT FROM payments.webhook_events
                       WHERE state IN ('RECEIVED', 'FAILED') AND try_at <= clock_timestamp()) AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Filter of a list; `None` or empty matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// Of this provider.
    pub provider_code: &'a str,
    /// In this state.
    pub state: Option<State>,
    /// About this movement.
    pub movement_id: Option<Uuid>,
}

/// Up to `limit` events before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &Filter<'_>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Event>> {
    let (received_at, id) = before.unzip();
    sqlx::query_as!(
        Event,
        "-- payments.webhook_events.list
        SELECT webhook_event_id, provider_code, provider_event_id, event_type, object_id, parent_id, reference, state,
               movement_id, delivery_count, attempt_count, failure_reason, received_at, processed_at
        FROM payments.webhook_events
        WHERE ($1 = '' OR provider_code = $1) AND ($2 = '' OR state = $2) AND ($3::uuid IS NULL OR movement_id = $3)
          AND ($4::timestamptz IS NULL OR (received_at, webhook_event_id) < ($4, $5::uuid))
        ORDER BY received_at DESC, webhook_event_id DESC LIMIT $6",
        filter.provider_code,
        filter.state.map_or("", State::as_str),
        filter.movement_id,
        received_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
