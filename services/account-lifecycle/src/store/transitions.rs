//! `account.transitions`

use chassis::{PgConnection, Place};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::variants;
use crate::domain::account::Suspension;

/// A change of an account's state, as recorded in its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The root account.
    pub root_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// Number within the account's history; assigned on insert.
    pub sequence: i64,
    /// State that changed, such as `MODE`.
    pub state_code: String,
    /// Id of what changed.
    pub resource_id: String,
    /// Name of the transition, such as `UPGRADED`.
    pub transition_code: String,
    /// State before; empty for the first.
    pub from_code: String,
    /// The state after.
    pub to_code: String,
    /// Who caused it.
    pub actor: String,
    /// Reason; empty for none.
    pub reason: String,
    /// When it happened.
    pub at: DateTime<Utc>,
}

/// Appends a transition to the history and to the outbox. The caller has locked the account.
pub async fn insert(db: &mut PgConnection, it: &Transition) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.transitions.insert
        WITH told AS (
            INSERT INTO account.transitions (root_id, account_id, sequence, state_code, resource_id, transition_code,
                                             from_code, to_code, actor, reason, at)
            SELECT $1, $2, coalesce(max(sequence), 0) + 1, $3, $4, $5, $6, $7, $8, $9, $10
            FROM account.transitions WHERE account_id = $2
            RETURNING root_id, account_id, sequence)
        INSERT INTO account.outbox (root_id, account_id, sequence) SELECT root_id, account_id, sequence FROM told",
        it.root_id,
        it.account_id,
        it.state_code,
        it.resource_id,
        it.transition_code,
        it.from_code,
        it.to_code,
        it.actor,
        it.reason,
        it.at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` transitions between the two snapshots of a resume token, by outbox position, each with its position.
///
/// A new window starts at the lowest position written by a transaction that the first snapshot does not see. The index
/// on `written_by` finds it without scanning rows that were delivered before. Later pages continue after the last
/// position, so that the cost of a page does not grow with the backlog.
pub async fn news(
    db: &mut PgConnection,
    place: &Place,
    limit: i64,
) -> sqlx::Result<Vec<(i64, Transition)>> {
    let rows = sqlx::query!(
        "-- account.transitions.news
        SELECT o.position, t.root_id, t.account_id, t.sequence, t.state_code, t.resource_id, t.transition_code, t.from_code,
               t.to_code, t.actor, t.reason, t.at
        FROM account.outbox o JOIN account.transitions t ON (t.account_id, t.sequence) = (o.account_id, o.sequence)
        WHERE NOT pg_visible_in_snapshot(o.written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(o.written_by, $2::text::pg_snapshot)
          AND o.position > CASE WHEN 0 < $3::bigint THEN $3::bigint ELSE (
                SELECT coalesce(min(u.position + 0) - 1, 9223372036854775807) FROM account.outbox u
                WHERE u.written_by >= pg_snapshot_xmin($1::text::pg_snapshot)
                  AND NOT pg_visible_in_snapshot(u.written_by, $1::text::pg_snapshot)) END
        ORDER BY o.position LIMIT $4",
        place.told,
        place.telling,
        place.position,
        limit
    )
    .fetch_all(db)
    .await?;
    let news = rows.into_iter().map(|it| {
        let transition = Transition {
            root_id: it.root_id,
            account_id: it.account_id,
            sequence: it.sequence,
            state_code: it.state_code,
            resource_id: it.resource_id,
            transition_code: it.transition_code,
            from_code: it.from_code,
            to_code: it.to_code,
            actor: it.actor,
            reason: it.reason,
            at: it.at,
        };
        (it.position, transition)
    });
    Ok(news.collect())
}

/// Up to `limit` transitions of an account before `before`, newest first; of one state or all.
pub async fn list(
    db: &mut PgConnection,
    account: Uuid,
    state: Option<&str>,
    (before, limit): (Option<i64>, i64),
) -> sqlx::Result<Vec<Transition>> {
    sqlx::query_as!(
        Transition,
        "-- account.transitions.list
        SELECT root_id, account_id, sequence, state_code, resource_id, transition_code, from_code, to_code, actor, reason,
               at
        FROM account.transitions
        WHERE account_id = $1 AND ($2::text IS NULL OR state_code = $2) AND ($3::bigint IS NULL OR sequence < $3)
        ORDER BY sequence DESC LIMIT $4",
        account,
        state,
        before,
        limit
    )
    .fetch_all(db)
    .await
}

/// The latest transition of a state of an account at or before an instant.
pub async fn last_before(
    db: &mut PgConnection,
    account: Uuid,
    state: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<Option<Transition>> {
    sqlx::query_as!(
        Transition,
        "-- account.transitions.last_before
        SELECT root_id, account_id, sequence, state_code, resource_id, transition_code, from_code, to_code, actor, reason,
               at
        FROM account.transitions WHERE account_id = $1 AND state_code = $2 AND at <= $3
        ORDER BY at DESC, sequence DESC LIMIT 1",
        account,
        state,
        at
    )
    .fetch_optional(db)
    .await
}

/// The suspension reasons of an account at an instant: those whose latest transition is `SUSPENDED`.
pub async fn suspensions(
    db: &mut PgConnection,
    account: Uuid,
    at: DateTime<Utc>,
) -> sqlx::Result<Vec<Suspension>> {
    let reasons = sqlx::query_scalar!(
        r#"-- account.transitions.suspensions
        SELECT reason AS "reason!" FROM (
            SELECT DISTINCT ON (split_part(reason, ':', 1)) split_part(reason, ':', 1) AS reason, transition_code
            FROM account.transitions
            WHERE account_id = $1 AND state_code = 'STATUS' AND transition_code IN ('SUSPENDED', 'REINSTATED') AND at <= $2
            ORDER BY split_part(reason, ':', 1), at DESC, sequence DESC
        ) last WHERE transition_code = 'SUSPENDED' ORDER BY reason"#,
        account,
        at
    )
    .fetch_all(db)
    .await?;
    variants(
        Suspension::ALL,
        Suspension::as_str,
        &reasons,
        "account.transitions.reason",
    )
}
