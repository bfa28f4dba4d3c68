//! `plan.ticket_stamps`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::TicketId;

/// A ticket stamp, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The root account.
    pub root_id: Uuid,
    /// Account of the ticket.
    pub account_id: Uuid,
    /// `P1`, `P2` or `P3`.
    pub priority_code: String,
    /// Support plan in force.
    pub plan_code: String,
    /// Catalogue version of its terms.
    pub catalogue_version: String,
    /// Platform plan in force; empty for none.
    pub platform_plan_code: String,
    /// Support priority of the platform plan; empty for none.
    pub support_priority_code: String,
    /// Time of the stamp.
    pub stamped_at: DateTime<Utc>,
}

/// Inserts a stamp, unless the ticket has one; returns the stored one.
pub async fn insert(db: &mut PgConnection, ticket: TicketId, stamp: &Stamp) -> sqlx::Result<Stamp> {
    sqlx::query!(
        "-- plan.ticket_stamps.insert
        INSERT INTO plan.ticket_stamps (ticket_id, root_id, account_id, priority_code, plan_code, catalogue_version,
                                        platform_plan_code, support_priority_code, stamped_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        ticket.uuid(),
        stamp.root_id,
        stamp.account_id,
        stamp.priority_code,
        stamp.plan_code,
        stamp.catalogue_version,
        stamp.platform_plan_code,
        stamp.support_priority_code,
        stamp.stamped_at
    )
    .execute(&mut *db)
    .await?;
    sqlx::query_as!(
        Stamp,
        "-- plan.ticket_stamps.get
        SELECT root_id, account_id, priority_code, plan_code, catalogue_version, platform_plan_code,
               support_priority_code, stamped_at
        FROM plan.ticket_stamps WHERE ticket_id = $1",
        ticket.uuid()
    )
    .fetch_one(db)
    .await
}
