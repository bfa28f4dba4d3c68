//! `account.tickets`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A support ticket as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Root account.
    pub root_id: Uuid,
    /// Account that opened it.
    pub account_id: Uuid,
    /// Ticket id.
    pub ticket_id: Uuid,
    /// `EMAIL`, `CHAT` or `PHONE`.
    pub channel_code: String,
    /// `P1`, `P2` or `P3`.
    pub priority_code: String,
    /// Subject line.
    pub subject: String,
    /// Support plan in force when the ticket was created.
    pub plan_code: String,
    /// Platform plan in force when the ticket was created; empty for none.
    pub platform_plan_code: String,
    /// Minutes to the first response; 0 without a guarantee.
    pub response_minutes: i32,
    /// Whether response minutes count around the clock.
    pub response_always: bool,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Support priority of the platform plan; empty for none.
    pub support_priority_code: String,
}

/// Inserts a ticket, unless the id exists.
pub async fn insert(db: &mut PgConnection, ticket: &Ticket) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.tickets.insert
        INSERT INTO account.tickets (root_id, account_id, ticket_id, channel_code, priority_code, subject, plan_code,
                                     platform_plan_code, response_minutes, response_always, created_at,
                                     support_priority_code)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
        ticket.root_id,
        ticket.account_id,
        ticket.ticket_id,
        ticket.channel_code,
        ticket.priority_code,
        ticket.subject,
        ticket.plan_code,
        ticket.platform_plan_code,
        ticket.response_minutes,
        ticket.response_always,
        ticket.created_at,
        ticket.support_priority_code
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The ticket `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Ticket>> {
    sqlx::query_as!(
        Ticket,
        "-- account.tickets.get\nSELECT * FROM account.tickets WHERE ticket_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` tickets of an account before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    account: Uuid,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Ticket>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Ticket,
        "-- account.tickets.list
        SELECT * FROM account.tickets
        WHERE account_id = $1 AND ($2::timestamptz IS NULL OR (created_at, ticket_id) < ($2, $3::uuid))
        ORDER BY created_at DESC, ticket_id DESC LIMIT $4",
        account,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
