//! `account.tickets`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A ticket as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its root account.
    pub root_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Its id.
    pub ticket_id: Uuid,
    /// EMAIL, CHAT or PHONE.
    pub channel_code: String,
    /// P1, P2 or P3.
    pub priority_code: String,
    /// What it is about.
    pub subject: String,
    /// The support plan stamped on it.
    pub plan_code: String,
    /// The platform plan stamped on it; empty for none.
    pub platform_plan_code: String,
    /// Minutes to the first response; 0 for no guarantee.
    pub response_minutes: i32,
    /// Whether they run around the clock.
    pub response_always: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// How it is handled under the platform plan; empty for none.
    pub support_priority_code: String,
}

/// Adds a ticket.
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

/// Erases what the tickets of accounts are about.
pub async fn erase(db: &mut PgConnection, accounts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.tickets.erase
        UPDATE account.tickets SET subject = '' WHERE account_id = ANY($1) AND subject <> ''",
        accounts
    )
    .execute(db)
    .await?;
    Ok(())
}
