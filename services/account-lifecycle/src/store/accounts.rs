//! `account.accounts`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use crate::domain::account::Account;

/// Adds an account.
pub async fn insert(db: &mut PgConnection, account: &Account) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.insert
        INSERT INTO account.accounts (root_id, account_id, parent_id, profile_code, display_name, owner_id, type,
                                      invoiced, currency, created_at, trial_end_at, upgraded_at, limited_at, limit_reason,
                                      kyc_state, dormant_at, live_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT DO NOTHING",
        account.root_id,
        account.account_id,
        account.parent_id,
        account.profile_code,
        account.display_name,
        account.owner_id,
        account.r#type,
        account.invoiced,
        account.currency,
        account.created_at,
        account.trial_end_at,
        account.upgraded_at,
        account.limited_at,
        account.limit_reason,
        account.kyc_state,
        account.dormant_at,
        account.live_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The account `id`; what suspends its root suspends it.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"-- account.accounts.get
        SELECT a.root_id, a.account_id, a.parent_id, a.profile_code, a.display_name, a.owner_id, a.type, a.invoiced,
               a.currency, a.created_at, a.opened_at, a.trial_end_at, a.upgraded_at, a.limited_at, a.limit_reason,
               a.kyc_state, a.dormant_at,
               ARRAY(SELECT DISTINCT unnest(a.suspensions || root.suspensions) ORDER BY 1) AS "suspensions!",
               a.closed_at, a.live_at
        FROM account.accounts a JOIN account.accounts root ON root.account_id = a.root_id
        WHERE a.account_id = $1"#,
        id
    )
    .fetch_optional(db)
    .await
}

/// Notes that the other services have opened an account.
pub async fn set_opened(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_opened
        UPDATE account.accounts SET opened_at = $2 WHERE account_id = $1 AND opened_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a user owns an account that is open, or whose closing is under way.
pub async fn any_open_of(db: &mut PgConnection, owner: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.accounts.any_open_of
        SELECT EXISTS (
            SELECT FROM account.accounts a WHERE owner_id = $1
              AND (closed_at IS NULL OR EXISTS (SELECT FROM account.closings c
                                                WHERE c.root_id = a.root_id AND c.state <> 'DONE'))
        ) AS "any!""#,
        owner
    )
    .fetch_one(db)
    .await
}

/// Takes an account live, with its subaccounts.
pub async fn set_live(db: &mut PgConnection, root: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_live
        UPDATE account.accounts SET live_at = $2 WHERE root_id = $1 AND live_at IS NULL",
        root,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Makes an account FULL with its subaccounts, which a TRIAL becomes by its first purchase (D5).
pub async fn set_full(db: &mut PgConnection, root: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_full
        UPDATE account.accounts
        SET type = 'FULL', upgraded_at = coalesce(upgraded_at, $2) WHERE root_id = $1",
        root,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Limits an account with its subaccounts from an instant on, or not.
pub async fn set_limit(
    db: &mut PgConnection,
    root: Uuid,
    limit: Option<(DateTime<Utc>, &str)>,
) -> sqlx::Result<()> {
    let (from, reason) = limit.unzip();
    sqlx::query!(
        "-- account.accounts.set_limit
        UPDATE account.accounts
        SET limited_at = $2, limit_reason = coalesce($3, ''),
            limit_told_at = CASE WHEN limited_at = $2 THEN limit_told_at END,
            credit_lapse_at = CASE WHEN limited_at = $2 THEN credit_lapse_at END,
            numbers_release_at = CASE WHEN $2::timestamptz IS NOT NULL OR empty_at IS NOT NULL THEN numbers_release_at END
        WHERE root_id = $1",
        root,
        from,
        reason
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that history tells of the limit of an account.
pub async fn set_limit_told(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_limit_told
        UPDATE account.accounts SET limit_told_at = limited_at WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether history tells of the limit of an account.
pub async fn is_limit_told(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.accounts.is_limit_told
        SELECT limited_at IS NOT DISTINCT FROM limit_told_at AS "told!" FROM account.accounts WHERE account_id = $1"#,
        root
    )
    .fetch_one(db)
    .await
}

/// Up to `limit` root accounts that are limited by `now` without that history tells of it.
pub async fn to_limit(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.accounts.to_limit
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
          AND limited_at <= $1
        ORDER BY limited_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the next account is limited, up to `until`.
pub async fn next_limit(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.next_limit
        SELECT min(limited_at) FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
          AND limited_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// Notes when the paid credit of a limited account expires.
pub async fn set_lapse(db: &mut PgConnection, root: Uuid, at: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_lapse
        UPDATE account.accounts SET credit_lapse_at = $2 WHERE account_id = $1",
        root,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Days before the end of a trial or a plan on which its owner is warned.
const WARN_OF_LIMIT_DAYS: i32 = 3;
/// Days before paid credit expires on which its owner is warned.
const WARN_OF_LAPSE_DAYS: i32 = 7;

/// Up to `limit` root accounts of which something ends soon that was not warned of.
pub async fn to_warn(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"-- account.accounts.to_warn
        SELECT account_id AS "account_id!" FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
          AND limited_at IS DISTINCT FROM limit_warned_at AND dormant_at IS NULL
          AND $1 < limited_at AND limited_at <= $1::timestamptz + make_interval(days => $3)
        UNION
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at
          AND $1 < credit_lapse_at AND credit_lapse_at <= $1::timestamptz + make_interval(days => $4)
        LIMIT $2"#,
        now,
        limit,
        WARN_OF_LIMIT_DAYS,
        WARN_OF_LAPSE_DAYS
    )
    .fetch_all(db)
    .await
}

/// When the next is to be warned of, up to `until`.
pub async fn next_warning(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        r#"-- account.accounts.next_warning
        SELECT least(
            (SELECT min(limited_at) - make_interval(days => $3) FROM account.accounts
             WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
               AND limited_at IS DISTINCT FROM limit_warned_at AND dormant_at IS NULL
               AND $1 < limited_at AND limited_at <= $2::timestamptz + make_interval(days => $3)),
            (SELECT min(credit_lapse_at) - make_interval(days => $4) FROM account.accounts
             WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at
               AND $1 < credit_lapse_at AND credit_lapse_at <= $2::timestamptz + make_interval(days => $4))) AS "at""#,
        now,
        until,
        WARN_OF_LIMIT_DAYS,
        WARN_OF_LAPSE_DAYS
    )
    .fetch_one(db)
    .await
}

/// What ends soon.
#[derive(Debug)]
pub struct Ends {
    /// A trial or a plan.
    pub limited_at: Option<DateTime<Utc>>,
    /// Paid credit.
    pub credit_lapse_at: Option<DateTime<Utc>>,
}

/// Takes up the warnings that are due of a root account, which is locked: each is taken once.
pub async fn take_warnings(
    db: &mut PgConnection,
    root: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<Ends> {
    sqlx::query_as!(
        Ends,
        r#"-- account.accounts.take_warnings
        UPDATE account.accounts a
        SET limit_warned_at = coalesce(due.limited_at, a.limit_warned_at),
            lapse_warned_at = coalesce(due.credit_lapse_at, a.lapse_warned_at)
        FROM (SELECT account_id,
                     CASE WHEN limited_at IS DISTINCT FROM limit_warned_at AND dormant_at IS NULL AND $2 < limited_at
                               AND limited_at <= $2::timestamptz + make_interval(days => $3) THEN limited_at END AS limited_at,
                     CASE WHEN credit_lapse_at IS DISTINCT FROM lapse_warned_at AND $2 < credit_lapse_at
                               AND credit_lapse_at <= $2::timestamptz + make_interval(days => $4) THEN credit_lapse_at END AS credit_lapse_at
              FROM account.accounts WHERE account_id = $1) due
        WHERE a.account_id = due.account_id
        RETURNING due.limited_at, due.credit_lapse_at"#,
        root,
        now,
        WARN_OF_LIMIT_DAYS,
        WARN_OF_LAPSE_DAYS
    )
    .fetch_one(db)
    .await
}

/// Makes an account dormant with its subaccounts, or brings it back.
pub async fn set_dormant(
    db: &mut PgConnection,
    root: Uuid,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_dormant\nUPDATE account.accounts SET dormant_at = $2 WHERE root_id = $1",
        root,
        since
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Suspends an account for a reason; what suspends a root suspends its subaccounts.
pub async fn suspend(db: &mut PgConnection, id: Uuid, reason: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.accounts.suspend
        UPDATE account.accounts SET suspensions = suspensions || $2::text
        WHERE account_id = $1 AND NOT $2 = ANY(suspensions)",
        id,
        reason
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Lifts a reason of a suspension.
pub async fn reinstate(db: &mut PgConnection, id: Uuid, reason: &str) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.accounts.reinstate
        UPDATE account.accounts SET suspensions = array_remove(suspensions, $2)
        WHERE account_id = $1 AND $2 = ANY(suspensions)",
        id,
        reason
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Closes an account for ever, a root with its subaccounts; gives those that were open.
pub async fn close(
    db: &mut PgConnection,
    id: Uuid,
    at: DateTime<Utc>,
) -> sqlx::Result<Vec<(Uuid, bool)>> {
    let rows = sqlx::query!(
        r#"-- account.accounts.close
        UPDATE account.accounts SET closed_at = $2
        WHERE (account_id = $1 OR root_id = $1) AND closed_at IS NULL
        RETURNING account_id, suspensions <> '{}' AS "suspended!""#,
        id,
        at
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.account_id, row.suspended))
        .collect())
}

/// Keeps where the KYC of an account and its subaccounts stands.
pub async fn set_kyc_state(db: &mut PgConnection, root: Uuid, state: &str) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_kyc_state\nUPDATE account.accounts SET kyc_state = $2 WHERE root_id = $1",
        root,
        state
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes how an account pays.
pub async fn set_invoiced(db: &mut PgConnection, id: Uuid, invoiced: bool) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_invoiced\nUPDATE account.accounts SET invoiced = $2 WHERE account_id = $1",
        id,
        invoiced
    )
    .execute(db)
    .await?;
    Ok(())
}

/// How many subaccounts a root has.
pub async fn count_subaccounts(db: &mut PgConnection, root: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.accounts.count_subaccounts
        SELECT count(*) AS "count!" FROM account.accounts
        WHERE root_id = $1 AND parent_id IS NOT NULL AND closed_at IS NULL"#,
        root
    )
    .fetch_one(db)
    .await
}

/// Locks a root account, so that its subaccounts are counted and added one at a time.
pub async fn lock(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!("-- account.accounts.lock\nSELECT account_id FROM account.accounts WHERE account_id = $1 FOR UPDATE", root)
        .fetch_optional(db)
        .await?;
    Ok(())
}

/// Up to `limit` open accounts before `before`, newest first; of a parent, a profile, a member, or
/// of all.
pub async fn list(
    db: &mut PgConnection,
    (parent, profile, member): (Option<Uuid>, Option<&str>, Option<Uuid>),
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Account>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Account,
        "-- account.accounts.list
        SELECT root_id, account_id, parent_id, profile_code, display_name, owner_id, type, invoiced, currency,
               created_at, opened_at,
               trial_end_at, upgraded_at, limited_at, limit_reason, kyc_state, dormant_at,
               suspensions, closed_at, live_at
        FROM account.accounts a
        WHERE opened_at IS NOT NULL AND ($1::uuid IS NULL OR parent_id = $1) AND ($2::text IS NULL OR profile_code = $2)
          AND ($3::uuid IS NULL OR EXISTS (
                SELECT FROM account.members m WHERE m.user_id = $3 AND m.account_id IN (a.account_id, a.root_id)))
          AND ($4::timestamptz IS NULL OR (created_at, account_id) < ($4, $5::uuid))
        ORDER BY created_at DESC, account_id DESC LIMIT $6",
        parent,
        profile,
        member,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` accounts that the other services have not opened yet, the oldest first.
pub async fn to_open(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as!(
        Account,
        "-- account.accounts.to_open
        SELECT root_id, account_id, parent_id, profile_code, display_name, owner_id, type, invoiced, currency,
               created_at, opened_at,
               trial_end_at, upgraded_at, limited_at, limit_reason, kyc_state, dormant_at,
               suspensions, closed_at, live_at
        FROM account.accounts WHERE opened_at IS NULL AND closed_at IS NULL ORDER BY created_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// The accounts that are erased with `id`: itself, and with a root its subaccounts.
pub async fn with_subaccounts(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.accounts.with_subaccounts
        SELECT account_id FROM account.accounts WHERE account_id = $1 OR root_id = $1
        ORDER BY parent_id IS NOT NULL, account_id",
        id
    )
    .fetch_all(db)
    .await
}

/// Erases the names of accounts.
pub async fn erase(db: &mut PgConnection, accounts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.erase
        UPDATE account.accounts SET display_name = '' WHERE account_id = ANY($1)",
        accounts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Notes since when nothing is left to spend; `None` while something is.
pub async fn set_empty(
    db: &mut PgConnection,
    root: Uuid,
    since: Option<DateTime<Utc>>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_empty
        UPDATE account.accounts SET empty_at = CASE WHEN $2::timestamptz IS NOT NULL THEN coalesce(empty_at, $2) END
        WHERE account_id = $1",
        root,
        since
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Dates the release of the numbers of a root account: so many days after it was limited, or its balance was empty,
/// whichever comes first; gives the date.
pub async fn set_release(
    db: &mut PgConnection,
    root: Uuid,
    (limited_days, empty_days): (Option<i32>, Option<i32>),
    now: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.set_release
        UPDATE account.accounts
        SET numbers_release_at = least(
            CASE WHEN limited_at <= $4 AND dormant_at IS NULL THEN limited_at + make_interval(days => $2) END,
            empty_at + make_interval(days => $3))
        WHERE account_id = $1 RETURNING numbers_release_at",
        root,
        limited_days,
        empty_days,
        now
    )
    .fetch_one(db)
    .await
}

/// When the numbers of a root account are released.
pub async fn release_at(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.release_at
        SELECT numbers_release_at FROM account.accounts WHERE account_id = $1 AND closed_at IS NULL",
        root
    )
    .fetch_optional(db)
    .await
    .map(Option::flatten)
}

/// Up to `limit` root accounts whose numbers are to be released by `now`.
pub async fn to_release(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.accounts.to_release
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at <= $1
        ORDER BY numbers_release_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When numbers are to be released next, up to `until`.
pub async fn next_release(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.next_release
        SELECT min(numbers_release_at) FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at <= $1",
        until
    )
    .fetch_one(db)
    .await
}

/// Notes that the numbers of a root account were released.
pub async fn set_released(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_released
        UPDATE account.accounts SET numbers_release_at = NULL WHERE account_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
