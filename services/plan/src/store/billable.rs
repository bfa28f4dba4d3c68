//! `plan.segments`, as a billing run reads them.

use chrono::{DateTime, Utc};
use futures::Stream;
use sqlx::PgConnection;
use uuid::Uuid;

/// A segment that touches a period.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Billable {
    /// The payer whose row it is.
    pub payer_id: Uuid,
    /// Whether another pays for it.
    pub paid_elsewhere: bool,
    /// The root account whose timeline it is.
    pub root_id: Uuid,
    /// The contract that governs it.
    pub contract_id: Option<Uuid>,
    /// The plan.
    pub plan_code: String,
    /// The version of its terms.
    pub catalogue_version: String,
    /// From when.
    pub start_at: DateTime<Utc>,
    /// Until when.
    pub end_at: Option<DateTime<Utc>>,
}

/// Which segments a billing run reads.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The family.
    pub family: String,
    /// The first instant of the period.
    pub from: DateTime<Utc>,
    /// The first instant after it.
    pub until: DateTime<Utc>,
    /// The least payer, or the one after which to go on.
    pub low: Uuid,
    /// Whether `low` itself is left out.
    pub after_low: bool,
    /// The greatest payer.
    pub high: Uuid,
}

/// Streams the segments of a selection in order of payer, root and start.
///
/// The connection serves nothing else until the stream ends; dropped half-way it must be closed.
pub fn stream<'c>(
    db: &'c mut PgConnection,
    selection: &'c Selection,
) -> impl Stream<Item = sqlx::Result<Billable>> + Send + 'c {
    sqlx::query_as(
        "-- plan.billable.stream
        SELECT payer_id, false AS paid_elsewhere, root_id, contract_id, plan_code, catalogue_version, start_at, end_at
        FROM plan.segments
        WHERE family_code = $1 AND payer_id >= $2 AND payer_id <= $3 AND ($4 = false OR payer_id > $2)
          AND start_at < $6 AND (end_at IS NULL OR $5 < end_at)
        UNION ALL
        SELECT p.payer_id, true, s.root_id, s.contract_id, s.plan_code, s.catalogue_version, s.start_at, s.end_at
        FROM (
            -- Only accounts that were in a contract in the period can have had two payers.
            SELECT DISTINCT s.payer_id, s.root_id
            FROM plan.segments c
            JOIN plan.segments s ON s.root_id = c.root_id AND s.family_code = $1
            WHERE c.family_code = $1 AND c.contract_id IS NOT NULL
              AND c.start_at < $6 AND (c.end_at IS NULL OR $5 < c.end_at)
              AND s.payer_id >= $2 AND s.payer_id <= $3 AND ($4 = false OR s.payer_id > $2)
              AND s.start_at < $6 AND (s.end_at IS NULL OR $5 < s.end_at)
        ) p
        JOIN plan.segments s ON s.root_id = p.root_id AND s.family_code = $1 AND s.payer_id <> p.payer_id
        WHERE s.start_at < $6 AND (s.end_at IS NULL OR $5 < s.end_at)
        ORDER BY payer_id, root_id, start_at",
    )
    .bind(&selection.family)
    .bind(selection.low)
    .bind(selection.high)
    .bind(selection.after_low)
    .bind(selection.from)
    .bind(selection.until)
    .fetch(db)
}
