//! `plan.ticket_stamps`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::TicketId;

/// A stamp as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// The root account.
    pub root_id: Uuid,
    /// The account that the ticket is of.
    pub account_id: Uuid,
    /// P1, P2 or P3.
    pub priority_code: String,
    /// The plan in force.
    pub plan_code: String,
    /// The version of its terms.
    pub catalogue_version: String,
    /// The platform plan in force; empty for none.
    pub platform_plan_code: String,
    /// How it is handled under the platform plan; empty for none.
    pub support_priority_code: String,
    /// When.
    pub stamped_at: DateTime<Utc>,
}

/// Keeps a stamp, unless the ticket has one; gives the one that is kept.
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
