//! `billing.accounts`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An account, as far as billing needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub account_id: Uuid,
    /// Its root account; its own id for a root account.
    pub root_id: Uuid,
    /// Its profile.
    pub profile_code: String,
    /// The time zone of its usage days, set when it was opened to that of the family billed by usage.
    pub time_zone: String,
    /// The currency of its ledger.
    pub currency: String,
    /// Whether it pays by invoice; otherwise it pays from its balance.
    pub invoiced: bool,
    /// Creation time.
    pub created_at: DateTime<Utc>,
}

/// The tax location of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Billed {
    /// ISO 3166-1 code of its tax country; empty if unknown.
    pub country_code: String,
    /// Code of its state; empty if none.
    pub state_code: String,
    /// Whether sales to it are exports.
    pub export_supply: bool,
}

/// The tax location of account `id`.
pub async fn billed(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Billed>> {
    sqlx::query_as!(
        Billed,
        "-- billing.accounts.billed
        SELECT country_code, state_code, export_supply FROM billing.accounts WHERE account_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Adds an account; `false` if the id exists.
pub async fn insert(db: &mut PgConnection, account: &Account) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.accounts.insert
        INSERT INTO billing.accounts (account_id, root_id, profile_code, time_zone, currency, invoiced, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        account.account_id,
        account.root_id,
        account.profile_code,
        account.time_zone,
        account.currency,
        account.invoiced,
        account.created_at
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The closing of an account as recorded with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// The account.
    pub account_id: Uuid,
    /// The instant of its closing.
    pub closed_at: DateTime<Utc>,
    /// Whether its data are erased.
    pub erased: bool,
}

/// The closed accounts among `ids`, in no order.
pub async fn closed_among(db: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Closed>> {
    sqlx::query_as!(
        Closed,
        r#"-- billing.accounts.closed_among
        SELECT account_id, closed_at AS "closed_at!", erased_at IS NOT NULL AS "erased!"
        FROM billing.accounts WHERE account_id = ANY($1) AND closed_at IS NOT NULL"#,
        ids
    )
    .fetch_all(db)
    .await
}

/// Records that an account was closed; closing a root account closes its subaccounts. An account closed before keeps
/// its instant.
///
/// Locks the root first, so that a subaccount being opened under it is waited for and included.
pub async fn close(
    db: &mut PgConnection,
    (root, account): (Uuid, Uuid),
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.accounts.lock_root
        SELECT account_id FROM billing.accounts WHERE account_id = $1 FOR UPDATE",
        root
    )
    .fetch_optional(&mut *db)
    .await?;
    sqlx::query!(
        "-- billing.accounts.close
        UPDATE billing.accounts SET closed_at = $3
        WHERE closed_at IS NULL AND root_id = $1 AND account_id IN (
            SELECT $2::uuid
            UNION ALL
            SELECT account_id FROM billing.accounts WHERE root_id = $1 AND root_id <> account_id AND $2::uuid = $1)",
        root,
        account,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// When a root account was closed. Blocks its closing until the end of the transaction.
pub async fn hold_closed_at(
    db: &mut PgConnection,
    root: Uuid,
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.accounts.hold_closed_at
        SELECT closed_at FROM billing.accounts WHERE account_id = $1 FOR SHARE",
        root
    )
    .fetch_one(db)
    .await
}

/// Records the erasure of a root account and its subaccounts, or of one of them only: no further usage of it is
/// recorded. The first instant is kept.
pub async fn erase(
    db: &mut PgConnection,
    (root, only): (Uuid, Option<Uuid>),
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.accounts.erase
        UPDATE billing.accounts SET closed_at = coalesce(closed_at, $3), erased_at = coalesce(erased_at, $3)
        WHERE root_id = $1 AND account_id IN (
            SELECT coalesce($2::uuid, $1)
            UNION ALL
            SELECT account_id FROM billing.accounts WHERE root_id = $1 AND root_id <> account_id AND $2::uuid IS NULL)",
        root,
        only,
        at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The accounts among `ids` that exist, in no order.
pub async fn get_all(db: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<Vec<Account>> {
    sqlx::query_as!(
        Account,
        "-- billing.accounts.get_all
        SELECT account_id, root_id, profile_code, time_zone, currency, invoiced, created_at
        FROM billing.accounts WHERE account_id = ANY($1)",
        ids
    )
    .fetch_all(db)
    .await
}

/// The attributes of a payer that its invoice depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// Its id.
    pub account_id: Uuid,
    /// Its profile.
    pub profile_code: String,
    /// The currency of its ledger.
    pub currency: String,
    /// Whether it pays by invoice; otherwise it pays from its balance.
    pub invoiced: bool,
    /// Tax country, if it pays by invoice; empty otherwise.
    pub country_code: String,
    /// Code of its state.
    pub state_code: String,
    /// Whether sales to it are exports.
    pub export_supply: bool,
}

/// The root accounts from `low` to `high`, in no order. A run's payers are adjacent, so reading the range takes less
/// than half the time of single lookups.
pub async fn payers(db: &mut PgConnection, (low, high): (Uuid, Uuid)) -> sqlx::Result<Vec<Payer>> {
    sqlx::query_as!(
        Payer,
        r#"-- billing.accounts.payers
        SELECT account_id, profile_code, currency, invoiced, export_supply,
               CASE WHEN invoiced THEN country_code ELSE '' END AS "country_code!",
               CASE WHEN invoiced THEN state_code ELSE '' END AS "state_code!"
        FROM billing.accounts WHERE account_id >= $1 AND account_id <= $2 AND root_id = account_id"#,
        low,
        high
    )
    .fetch_all(db)
    .await
}

/// The account `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Account>> {
    Ok(get_all(db, &[id]).await?.pop())
}

/// The number of root accounts of these profiles.
pub async fn count_roots(db: &mut PgConnection, profiles: &[String]) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- billing.accounts.count_roots
        SELECT count(*) AS "count!" FROM billing.accounts WHERE root_id = account_id AND profile_code = ANY($1)"#,
        profiles
    )
    .fetch_one(db)
    .await
}

/// When the oldest root account of `profiles` was created.
pub async fn oldest(
    db: &mut PgConnection,
    profiles: &[String],
) -> sqlx::Result<Option<DateTime<Utc>>> {
    sqlx::query_scalar!(
        "-- billing.accounts.oldest
        SELECT min(o.created_at) FROM unnest($1::text[]) p CROSS JOIN LATERAL (
            SELECT created_at FROM billing.accounts a WHERE a.profile_code = p AND a.root_id = a.account_id
            ORDER BY created_at LIMIT 1) o",
        profiles
    )
    .fetch_one(db)
    .await
}

/// Changes of an account's attributes; `None` leaves a column unchanged.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether it pays by invoice.
    pub invoiced: Option<bool>,
    /// ISO 3166-1 code of its tax country.
    pub country_code: Option<String>,
    /// Code of its state.
    pub state_code: Option<String>,
    /// Whether sales to it are exports.
    pub export_supply: Option<bool>,
    /// Revision of its billing details; 0 for a change of single columns.
    pub revision: i32,
}

/// Changes the attributes of an account; `false` if there is no such account, or if it has a later revision.
pub async fn set_facts(db: &mut PgConnection, id: Uuid, facts: &Facts) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.accounts.set_facts
        UPDATE billing.accounts
        SET invoiced = coalesce($2, invoiced), country_code = coalesce($3, country_code),
            state_code = coalesce($4, state_code), export_supply = coalesce($5, export_supply),
            details_revision = greatest(details_revision, $6)
        WHERE account_id = $1 AND ($6 = 0 OR details_revision < $6)",
        id,
        facts.invoiced,
        facts.country_code,
        facts.state_code,
        facts.export_supply,
        facts.revision
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}
