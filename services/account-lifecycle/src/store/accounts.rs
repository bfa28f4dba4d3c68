//! `account.accounts`

use chassis::{PgConnection, StandsIn, Tenant};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{variant, variants};
use crate::domain::account::{AccountType, LimitReason, Suspension};
use crate::domain::kyc::KycState;

pub use crate::domain::account::Account;

chassis::stored_as_text!(AccountType, "account.accounts.type");
chassis::stored_as_text!(LimitReason, "account.accounts.limit_reason");
chassis::stored_as_text!(Suspension, "account.accounts.suspensions");

/// Inserts an account, unless the id exists.
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
        account.r#type.as_str(),
        account.invoiced,
        account.currency,
        account.created_at,
        account.trial_end_at,
        account.upgraded_at,
        account.limited_at,
        account.limit_reason.as_str(),
        account.kyc_state.as_str(),
        account.dormant_at,
        account.live_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The account `id`. Suspensions of its root account are included.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Account>> {
    sqlx::query_as!(
        Account,
        r#"-- account.accounts.get
        SELECT a.root_id, a.account_id, a.parent_id, a.profile_code, a.display_name, a.owner_id, a.type, a.invoiced,
               a.currency, a.created_at, a.opened_at, a.trial_end_at, a.upgraded_at, a.limited_at, a.limit_reason,
               a.kyc_state, a.dormant_at,
               ARRAY(SELECT DISTINCT unnest(a.suspensions || root.suspensions) ORDER BY 1) AS "suspensions!: Vec<Suspension>",
               a.closed_at, a.live_at
        FROM account.accounts a JOIN account.accounts root ON root.account_id = a.root_id
        WHERE a.account_id = $1"#,
        id
    )
    .fetch_optional(db)
    .await
}

/// The type of an account that a function of the schema answers with, as are those below.
pub(super) fn account_type(text: &str) -> sqlx::Result<AccountType> {
    let (all, column) = (AccountType::ALL, "account.accounts.type");
    variant(all, AccountType::as_str, text, column)
}

/// The reason of a limit.
pub(super) fn limit_reason(text: &str) -> sqlx::Result<LimitReason> {
    let (all, column) = (LimitReason::ALL, "account.accounts.limit_reason");
    variant(all, LimitReason::as_str, text, column)
}

/// The state of a KYC.
pub(super) fn kyc_state(text: &str) -> sqlx::Result<KycState> {
    let (all, column) = (KycState::ALL, "account.accounts.kyc_state");
    variant(all, KycState::as_str, text, column)
}

/// The reasons of a suspension.
pub(super) fn suspensions(texts: &[String]) -> sqlx::Result<Vec<Suspension>> {
    let (all, column) = (Suspension::ALL, "account.accounts.suspensions");
    variants(all, Suspension::as_str, texts, column)
}

/// An account, and the roles of a person in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The account; what suspends its root suspends it.
    pub account: Account,
    /// The person's roles in it and its root.
    pub roles: Vec<String>,
}

/// The account `id`, the roles of `person` in it and how it stands, in one round trip: its tenant is entered by it,
/// until the transaction ends. To a person without a role in it, it is not there.
pub async fn seen(
    db: &mut PgConnection,
    id: Uuid,
    person: Option<Uuid>,
) -> sqlx::Result<Option<(Seen, StandsIn)>> {
    let row = sqlx::query!(
        r#"-- account.accounts.seen
        SELECT (s.it).root_id AS "root_id!", (s.it).account_id AS "account_id!", (s.it).parent_id AS "parent_id",
               (s.it).profile_code AS "profile_code!", (s.it).display_name AS "display_name!",
               (s.it).owner_id AS "owner_id!", (s.it).type AS "type!", (s.it).invoiced AS "invoiced!",
               (s.it).currency AS "currency!", (s.it).created_at AS "created_at!", (s.it).opened_at AS "opened_at",
               (s.it).trial_end_at AS "trial_end_at", (s.it).upgraded_at AS "upgraded_at",
               (s.it).limited_at AS "limited_at", (s.it).limit_reason AS "limit_reason!",
               (s.it).kyc_state AS "kyc_state!", (s.it).dormant_at AS "dormant_at", (s.it).closed_at AS "closed_at",
               (s.it).live_at AS "live_at", s.suspended_for AS "suspensions!", s.stands_in AS "stands_in!",
               s.limit_from AS "limit_from", s.held_roles AS "roles!"
        FROM account.seen($1, $2) s"#,
        id,
        person
    )
    .fetch_optional(db)
    .await?;
    let seen = row.map(|row| {
        let account = Account {
            root_id: row.root_id,
            account_id: row.account_id,
            parent_id: row.parent_id,
            profile_code: row.profile_code,
            display_name: row.display_name,
            owner_id: row.owner_id,
            r#type: account_type(&row.r#type)?,
            invoiced: row.invoiced,
            currency: row.currency,
            created_at: row.created_at,
            opened_at: row.opened_at,
            trial_end_at: row.trial_end_at,
            upgraded_at: row.upgraded_at,
            limited_at: row.limited_at,
            limit_reason: limit_reason(&row.limit_reason)?,
            kyc_state: kyc_state(&row.kyc_state)?,
            dormant_at: row.dormant_at,
            closed_at: row.closed_at,
            live_at: row.live_at,
            suspensions: suspensions(&row.suspensions)?,
        };
        Tenant::Root(account.root_id).noted();
        let roles = row.roles;
        let seen = Seen { account, roles };
        Ok::<_, sqlx::Error>((seen, (row.stands_in, row.limit_from)))
    });
    seen.transpose()
}

/// Locks a root account, and tells whether its closing has begun and where its KYC stands; `None` where it is unknown.
pub async fn hold_open(
    db: &mut PgConnection,
    root: Uuid,
) -> sqlx::Result<Option<(bool, KycState)>> {
    let row = sqlx::query!(
        r#"-- account.accounts.hold_open
        SELECT is_closing AS "is_closing!", its_kyc AS "kyc!" FROM account.hold_open($1)"#,
        root
    )
    .fetch_optional(db)
    .await?;
    let held = row.map(|row| Ok::<_, sqlx::Error>((row.is_closing, kyc_state(&row.kyc)?)));
    held.transpose()
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

/// Whether a user owns an account that is open or still closing.
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

/// Makes an account live, with its subaccounts.
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

/// Makes an account and its subaccounts `FULL`, which a trial becomes with its first purchase (D5).
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

/// Sets or clears the limit of an account and its subaccounts.
pub async fn set_limit(
    db: &mut PgConnection,
    root: Uuid,
    limit: Option<(DateTime<Utc>, LimitReason)>,
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
        reason.map(LimitReason::as_str)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Records that the account history shows the present limit of an account.
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

/// Whether the account history shows the present limit of an account.
pub async fn is_limit_told(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.accounts.is_limit_told
        SELECT limited_at IS NOT DISTINCT FROM limit_told_at AS "told!" FROM account.accounts WHERE account_id = $1"#,
        root
    )
    .fetch_one(db)
    .await
}

/// Up to `limit` root accounts whose limit has begun by `now` and is not in the account history yet.
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
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'limit_accounts' AND c.key = account_id::text
                        AND clock_timestamp() < c.held_until)
        ORDER BY limited_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the next limit begins, up to `until`.
pub async fn next_limit(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.next_limit
        SELECT min(limited_at) FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
          AND limited_at <= $1
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'limit_accounts' AND c.key = account_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// Records when the paid credit of a limited account expires.
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

/// Days before the end of a trial or a plan at which its owner is warned.
const WARN_OF_LIMIT_DAYS: i32 = 3;
/// Days before the expiry of paid credit at which the owner is warned.
const WARN_OF_LAPSE_DAYS: i32 = 7;

/// Up to `limit` root accounts with a warning that is due.
pub async fn to_warn(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        r#"-- account.accounts.to_warn
        SELECT account_id AS "account_id!" FROM (
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND limited_at IS DISTINCT FROM limit_told_at
          AND limited_at IS DISTINCT FROM limit_warned_at AND dormant_at IS NULL
          AND $1 < limited_at AND limited_at <= $1::timestamptz + make_interval(days => $3)
        UNION
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at
          AND $1 < credit_lapse_at AND credit_lapse_at <= $1::timestamptz + make_interval(days => $4)
        ) due
        WHERE NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'warn_owners' AND c.key = due.account_id::text
                            AND clock_timestamp() < c.held_until)
        LIMIT $2"#,
        now,
        limit,
        WARN_OF_LIMIT_DAYS,
        WARN_OF_LAPSE_DAYS
    )
    .fetch_all(db)
    .await
}

/// When a job of this service has work next, up to `until` and at the earliest at `now`; `None` while there is none to
/// come by then.
pub async fn next_work(
    db: &mut PgConnection,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
    sends_mail: bool,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.next_work\nSELECT account.next_work($1, $2, $3, $4, $5) AS at",
        now,
        until,
        sends_mail,
        WARN_OF_LIMIT_DAYS,
        WARN_OF_LAPSE_DAYS
    )
    .fetch_one(db)
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
               AND $1 < limited_at AND limited_at <= $2::timestamptz + make_interval(days => $3)
               AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'warn_owners' AND c.key = account_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)),
            (SELECT min(credit_lapse_at) - make_interval(days => $4) FROM account.accounts
             WHERE parent_id IS NULL AND closed_at IS NULL AND credit_lapse_at IS DISTINCT FROM lapse_warned_at
               AND $1 < credit_lapse_at AND credit_lapse_at <= $2::timestamptz + make_interval(days => $4)
               AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'warn_owners' AND c.key = account_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until))) AS "at""#,
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
    /// End of a trial or a plan.
    pub limited_at: Option<DateTime<Utc>>,
    /// Expiry of paid credit.
    pub credit_lapse_at: Option<DateTime<Utc>>,
}

/// Takes the warnings due for a root account, which the caller has locked; each is taken once.
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

/// Makes an account and its subaccounts dormant, or returns them to service.
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

/// Notes that what a root account which was made dormant has going on is to be ended, and whether an operator asked for
/// it.
pub async fn set_soft_closing(
    db: &mut PgConnection,
    root: Uuid,
    by_operator: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_soft_closing
        UPDATE account.accounts SET soft_close_by_operator = $2 WHERE account_id = $1",
        root,
        by_operator
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether an operator asked for the soft close of a root account of which something is left to be ended; `None` where
/// nothing is.
pub async fn soft_close_under_way(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<bool>> {
    let found = sqlx::query_scalar!(
        "-- account.accounts.soft_close_under_way
        SELECT soft_close_by_operator FROM account.accounts WHERE account_id = $1",
        root
    )
    .fetch_optional(db)
    .await?;
    Ok(found.flatten())
}

/// Notes that all has ended that a root account had going on which is dormant since then.
pub async fn set_soft_closed(
    db: &mut PgConnection,
    root: Uuid,
    since: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_soft_closed
        UPDATE account.accounts SET soft_close_by_operator = NULL WHERE account_id = $1 AND dormant_at = $2",
        root,
        since
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` root accounts whose soft close has not ended all that it must; none of an account that is closed for
/// ever, as its closing ends it.
pub async fn to_end(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.accounts.to_end
        SELECT account_id FROM account.accounts a
        WHERE soft_close_by_operator IS NOT NULL AND closed_at IS NULL
          AND NOT EXISTS (SELECT FROM account.closings g WHERE g.account_id = a.account_id)
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'finish_soft_closes' AND c.key = a.account_id::text
                        AND clock_timestamp() < c.held_until)
        ORDER BY account_id LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// Whether there is a soft close that has not ended all that it must and can go on now.
pub async fn any_to_end(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.accounts.any_to_end
        SELECT EXISTS (SELECT FROM account.accounts a
                       WHERE soft_close_by_operator IS NOT NULL AND closed_at IS NULL
          AND NOT EXISTS (SELECT FROM account.closings g WHERE g.account_id = a.account_id)
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'finish_soft_closes' AND c.key = a.account_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)) AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Suspends an account for a reason; what suspends a root suspends its subaccounts.
pub async fn suspend(db: &mut PgConnection, id: Uuid, reason: Suspension) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.accounts.suspend
        UPDATE account.accounts SET suspensions = suspensions || $2::text
        WHERE account_id = $1 AND NOT $2 = ANY(suspensions)",
        id,
        reason.as_str()
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a suspension reason from an account. `false` if it was not suspended for it.
pub async fn reinstate(db: &mut PgConnection, id: Uuid, reason: Suspension) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.accounts.reinstate
        UPDATE account.accounts SET suspensions = array_remove(suspensions, $2)
        WHERE account_id = $1 AND $2 = ANY(suspensions)",
        id,
        reason.as_str()
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Closes an account permanently, a root with its subaccounts. Returns the accounts closed and whether each was
/// suspended.
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

/// Sets the KYC state of an account and its subaccounts.
pub async fn set_kyc_state(db: &mut PgConnection, root: Uuid, state: KycState) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.accounts.set_kyc_state\nUPDATE account.accounts SET kyc_state = $2 WHERE root_id = $1",
        root,
        state.as_str()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Sets whether an account pays by invoice.
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

/// Counts the open subaccounts of a root account.
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

/// How many trials a user has opened, one not counted, whatever became of them but those that are customers now; of
/// all tenants.
pub async fn count_trials(db: &mut PgConnection, (owner, but): (Uuid, Uuid)) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.accounts.count_trials
        SELECT account.trials_of($1, $2) AS "count!""#,
        owner,
        but
    )
    .fetch_one(db)
    .await
}

/// Locks a root account, which serializes the creation of its subaccounts.
pub async fn lock(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!("-- account.accounts.lock\nSELECT account_id FROM account.accounts WHERE account_id = $1 FOR UPDATE", root)
        .fetch_optional(db)
        .await?;
    Ok(())
}

/// Which accounts to list; what is `None` restricts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// The subaccounts of this account.
    pub parent: Option<Uuid>,
    /// The accounts of this profile.
    pub profile: Option<&'a str>,
    /// The accounts in which this user has a role.
    pub member: Option<Uuid>,
    /// The accounts of this owner.
    pub owner: Option<Uuid>,
}

/// Up to `limit` opened accounts before `before`, newest first. A member's accounts are found by their roles, without a
/// scan of all accounts.
pub async fn list(
    db: &mut PgConnection,
    filter: Filter<'_>,
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
        FROM account.accounts
        WHERE opened_at IS NOT NULL AND ($1::uuid IS NULL OR parent_id = $1) AND ($2::text IS NULL OR profile_code = $2)
          AND ($3::uuid IS NULL
               OR account_id = ANY(ARRAY(SELECT m.account_id FROM account.members m WHERE m.user_id = $3))
               OR root_id = ANY(ARRAY(SELECT m.account_id FROM account.members m WHERE m.user_id = $3)))
          AND ($4::timestamptz IS NULL OR (created_at, account_id) < ($4, $5::uuid))
          AND ($7::uuid IS NULL OR owner_id = $7)
        ORDER BY created_at DESC, account_id DESC LIMIT $6",
        filter.parent,
        filter.profile,
        filter.member,
        created_at,
        id,
        limit,
        filter.owner
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` opened accounts whose name begins with `name`, whatever the case of its letters, after the account
/// `after`, in order of name.
pub async fn by_name(
    db: &mut PgConnection,
    (name, filter): (&str, Filter<'_>),
    after: Option<Uuid>,
    limit: i64,
) -> sqlx::Result<Vec<Account>> {
    // The last code point: what begins with the name is before the name followed by it.
    sqlx::query_as!(
        Account,
        "-- account.accounts.by_name
        SELECT root_id, account_id, parent_id, profile_code, display_name, owner_id, type, invoiced, currency,
               created_at, opened_at,
               trial_end_at, upgraded_at, limited_at, limit_reason, kyc_state, dormant_at,
               suspensions, closed_at, live_at
        FROM account.accounts
        WHERE opened_at IS NOT NULL
          AND name_folded >= lower($1::text) AND name_folded < lower($1::text) || chr(1114111)
          AND ($2::uuid IS NULL OR parent_id = $2) AND ($3::text IS NULL OR profile_code = $3)
          AND ($4::uuid IS NULL
               OR account_id = ANY(ARRAY(SELECT m.account_id FROM account.members m WHERE m.user_id = $4))
               OR root_id = ANY(ARRAY(SELECT m.account_id FROM account.members m WHERE m.user_id = $4)))
          AND ($5::uuid IS NULL OR owner_id = $5)
          AND ($6::uuid IS NULL
               OR (name_folded, account_id)
                  > (SELECT a.name_folded, a.account_id FROM account.accounts a WHERE a.account_id = $6))
        ORDER BY name_folded, account_id LIMIT $7",
        name,
        filter.parent,
        filter.profile,
        filter.member,
        filter.owner,
        after,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` accounts that the other services have yet to open and that no worker has claimed, oldest first.
pub async fn to_open(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.accounts.to_open
        SELECT account_id FROM account.accounts
        WHERE opened_at IS NULL AND closed_at IS NULL
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'open_accounts' AND c.key = account_id::text
                        AND clock_timestamp() < c.held_until)
        ORDER BY created_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// Whether an account has yet to be opened in the other services, apart from failed ones that are held back.
pub async fn any_to_open(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.accounts.any_to_open
        SELECT EXISTS (SELECT FROM account.accounts
                       WHERE opened_at IS NULL AND closed_at IS NULL
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'open_accounts' AND c.key = account_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)) AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// The accounts erased together with `id`: itself, and for a root its subaccounts.
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

/// Records since when the balance is empty; `None` clears it.
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

/// Sets the release date of a root account's numbers: `limited_days` after its limit began or `empty_days` after its
/// balance became empty, whichever comes first. Returns the date; `None` if neither applies.
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

/// When the numbers of a root account are released; `None` if no release is planned.
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

/// Up to `limit` root accounts whose numbers are due for release by `now`.
pub async fn to_release(
    db: &mut PgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.accounts.to_release
        SELECT account_id FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at <= $1
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'release_numbers' AND c.key = account_id::text
                        AND clock_timestamp() < c.held_until)
        ORDER BY numbers_release_at LIMIT $2",
        now,
        limit
    )
    .fetch_all(db)
    .await
}

/// When the next numbers are released, up to `until`.
pub async fn next_release(
    db: &mut PgConnection,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- account.accounts.next_release
        SELECT min(numbers_release_at) FROM account.accounts
        WHERE parent_id IS NULL AND closed_at IS NULL AND numbers_release_at <= $1
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'release_numbers' AND c.key = account_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)",
        until
    )
    .fetch_one(db)
    .await
}

/// Clears the release date of a root account, whose numbers are released.
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
