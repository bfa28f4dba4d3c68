//! `account.transitions`

use chassis::Place;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A named, dated change of state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The root account.
    pub root_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// Its place in the account's history; given when it is kept.
    pub sequence: i64,
    /// Which state, such as MODE.
    pub state_code: String,
    /// The id of what changed.
    pub resource_id: String,
    /// Its name, such as UPGRADED.
    pub transition_code: String,
    /// The state before; empty at its start.
    pub from_code: String,
    /// The state after.
    pub to_code: String,
    /// Who.
    pub actor: String,
    /// Why; empty for none.
    pub reason: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Adds a transition at the end of the history of its account, which is locked, and to the news.
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

/// Up to `limit` transitions of a place in the order of their news, each with its position.
///
/// By the index of who wrote them: what is not told yet is at its end, wherever the positions are.
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
        WHERE o.written_by >= pg_snapshot_xmin($1::text::pg_snapshot)
          AND NOT pg_visible_in_snapshot(o.written_by, $1::text::pg_snapshot)
          AND pg_visible_in_snapshot(o.written_by, $2::text::pg_snapshot) AND $3 < o.position
        ORDER BY o.position + 0 LIMIT $4",
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

/// Up to `limit` transitions of an account before `before`, newest first; of one state, or of all.
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

/// The transition that decided a state of an account at an instant.
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

/// The reasons for which an account was suspended at an instant: those whose last word was SUSPENDED.
pub async fn suspensions(
    db: &mut PgConnection,
    account: Uuid,
    at: DateTime<Utc>,
) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
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
    .await
}

/// Erases what people wrote in the history of accounts; the reason code before it stays.
pub async fn erase(db: &mut PgConnection, accounts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.transitions.erase
        UPDATE account.transitions
        SET reason = CASE state_code WHEN 'KYC' THEN '' ELSE split_part(reason, ':', 1) END
        WHERE account_id = ANY($1) AND (state_code = 'KYC' AND reason <> '' OR reason LIKE '%:%')",
        accounts
    )
    .execute(db)
    .await?;
    Ok(())
}
