//! `plan.segments` as read by billing runs.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use futures::Stream;
use uuid::Uuid;

/// A segment that overlaps a period.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Billable {
    /// Payer whose invoice needs this row.
    pub payer_id: Uuid,
    /// Payer of the segment.
    pub paid_by: Uuid,
    /// Root account that the segment belongs to.
    pub root_id: Uuid,
    /// Contract that governs it; `None` without one.
    pub contract_id: Option<Uuid>,
    /// Plan code.
    pub plan_code: String,
    /// Catalogue version of its terms.
    pub catalogue_version: String,
    /// Start, inclusive.
    pub start_at: DateTime<Utc>,
    /// End, exclusive; `None` while open.
    pub end_at: Option<DateTime<Utc>>,
}

/// The segments that a billing run reads.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Family code.
    pub family: String,
    /// Start of the period, inclusive.
    pub from: DateTime<Utc>,
    /// End of the period, exclusive.
    pub until: DateTime<Utc>,
    /// Lowest payer id, or the last one already read.
    pub low: Uuid,
    /// Whether `low` itself is excluded.
    pub after_low: bool,
    /// Highest payer id.
    pub high: Uuid,
}

/// Streams the segments of a selection, ordered by payer, root account and start.
///
/// The connection is reserved until the stream ends. If the stream is dropped early, the connection must be closed.
pub fn stream<'c>(
    db: &'c mut PgConnection,
    selection: &'c Selection,
) -> impl Stream<Item = sqlx::Result<Billable>> + Send + 'c {
    sqlx::query_as(
        "-- plan.billable.stream
        SELECT payer_id, payer_id AS paid_by, root_id, contract_id, plan_code, catalogue_version, start_at, end_at
        FROM plan.segments
        WHERE family_code = $1 AND payer_id >= $2 AND payer_id <= $3 AND ($4 = false OR payer_id > $2)
          AND start_at < $6 AND (end_at IS NULL OR $5 < end_at)
        UNION ALL
        SELECT p.payer_id, s.payer_id, s.root_id, s.contract_id, s.plan_code, s.catalogue_version, s.start_at, s.end_at
        FROM (
            -- Only accounts that were in a contract in the period can have had two payers.
            SELECT s.payer_id, s.root_id
            FROM plan.segments c
            JOIN plan.segments s ON s.root_id = c.root_id AND s.family_code = $1
            WHERE c.family_code = $1 AND c.contract_id IS NOT NULL
              AND c.start_at < $6 AND (c.end_at IS NULL OR $5 < c.end_at)
              AND s.payer_id >= $2 AND s.payer_id <= $3 AND ($4 = false OR s.payer_id > $2)
              AND s.start_at < $6 AND (s.end_at IS NULL OR $5 < s.end_at)
            UNION
            -- Who pays for a contract needs all who were in it: a day of it has one payer.
            SELECT c.payer_id, s.root_id
            FROM (
                SELECT DISTINCT payer_id, contract_id FROM plan.segments
                WHERE family_code = $1 AND contract_id IS NOT NULL
                  AND payer_id >= $2 AND payer_id <= $3 AND ($4 = false OR payer_id > $2)
                  AND start_at < $6 AND (end_at IS NULL OR $5 < end_at)
            ) c
            JOIN plan.segments s ON s.contract_id = c.contract_id AND s.family_code = $1
            WHERE s.start_at < $6 AND (s.end_at IS NULL OR $5 < s.end_at)
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
