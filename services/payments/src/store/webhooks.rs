//! `payments.webhook_events`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// One message of a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub webhook_event_id: Uuid,
    /// The provider.
    pub provider_code: String,
    /// The provider's own id of it.
    pub provider_event_id: String,
    /// Its kind in the provider's word.
    pub event_type: String,
    /// The provider's id of what it is about.
    pub object_id: String,
    /// The provider's id of what that belongs to.
    pub parent_id: String,
    /// Our reference.
    pub reference: String,
    /// RECEIVED, PROCESSED, IGNORED or FAILED.
    pub state: String,
    /// The movement that it is about.
    pub movement_id: Option<Uuid>,
    /// How often it came.
    pub delivery_count: i32,
    /// How often it was processed.
    pub attempt_count: i32,
    /// Why it FAILED or was IGNORED.
    pub failure_reason: String,
    /// When it came first.
    pub received_at: DateTime<Utc>,
    /// When it was processed last.
    pub processed_at: Option<DateTime<Utc>>,
}

/// Keeps an event; one that came before is counted.
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
        event.state,
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

/// The event that has waited longest to be processed; nobody else gets it for `wait_seconds`.
pub async fn take(db: &mut PgConnection, wait_seconds: i32) -> sqlx::Result<Option<Event>> {
    sqlx::query_as!(
        Event,
        "-- payments.webhook_events.take
        UPDATE payments.webhook_events SET try_at = clock_timestamp() + make_interval(secs => $1::int)
        WHERE webhook_event_id = (
            SELECT webhook_event_id FROM payments.webhook_events
            WHERE state IN ('RECEIVED', 'FAILED') AND try_at <= clock_timestamp()
            ORDER BY try_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING webhook_event_id, provider_code, provider_event_id, event_type, object_id, parent_id, reference, state,
                  movement_id, delivery_count, attempt_count, failure_reason, received_at, processed_at",
        wait_seconds
    )
    .fetch_optional(db)
    .await
}

/// What came of processing an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processed<'a> {
    /// PROCESSED, IGNORED or FAILED.
    pub state: &'a str,
    /// The movement that it is about.
    pub movement_id: Option<Uuid>,
    /// Why it FAILED or was IGNORED.
    pub failure_reason: &'a str,
    /// Seconds until a failed one is tried again.
    pub wait_seconds: i32,
}

/// Notes what came of processing an event.
pub async fn processed(
    db: &mut PgConnection,
    id: Uuid,
    it: &Processed<'_>,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.webhook_events.processed
        UPDATE payments.webhook_events
        SET state = $2, movement_id = coalesce($3, movement_id), failure_reason = $4, attempt_count = attempt_count + 1,
            processed_at = $5, try_at = clock_timestamp() + make_interval(secs => $6::int)
        WHERE webhook_event_id = $1",
        id,
        it.state,
        it.movement_id,
        it.failure_reason,
        now,
        it.wait_seconds
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether an event waits to be processed now.
pub async fn any_due(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.webhook_events.any_due
        SELECT EXISTS (SELECT FROM payments.webhook_events
                       WHERE state IN ('RECEIVED', 'FAILED') AND try_at <= clock_timestamp()) AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Which events are listed: empty and `None` for all.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// Only this provider's.
    pub provider_code: &'a str,
    /// Only those in this state.
    pub state: &'a str,
    /// Only those about this movement.
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
        filter.state,
        filter.movement_id,
        received_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
