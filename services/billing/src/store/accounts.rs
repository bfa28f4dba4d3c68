//! `billing.accounts`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// An account as billing knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub account_id: Uuid,
    /// Its root; itself for a root account.
    pub root_id: Uuid,
    /// Its profile.
    pub profile_code: String,
    /// The zone that makes the days of its usage.
    pub time_zone: String,
    /// The currency of its ledger.
    pub currency: String,
    /// Whether it pays by invoice; else from its balance.
    pub invoiced: bool,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// Where an account is taxed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Billed {
    /// ISO 3166-1 code of its tax country; empty where not known.
    pub country_code: String,
    /// Its state's code; empty where none.
    pub state_code: String,
    /// Whether it buys as an export.
    pub export_supply: bool,
}

/// Where the account `id` is taxed.
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

/// Adds an account; `false` when the id is there already.
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

/// What a payer's invoice depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payer {
    /// Its id.
    pub account_id: Uuid,
    /// Its profile.
    pub profile_code: String,
    /// The currency of its ledger.
    pub currency: String,
    /// Whether it pays by invoice; else from its balance.
    pub invoiced: bool,
    /// Of one that pays by invoice: where it is taxed.
    pub country_code: String,
    /// Its state's code.
    pub state_code: String,
    /// Whether it buys as an export.
    pub export_supply: bool,
}

/// The root accounts from `low` to `high`, in no order: a run's payers lie side by side, and are read so
/// in less than half the time of looking each of them up.
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

/// How many root accounts have one of these profiles.
pub async fn count_roots(db: &mut PgConnection, profiles: &[String]) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- billing.accounts.count_roots
        SELECT count(*) AS "count!" FROM billing.accounts WHERE root_id = account_id AND profile_code = ANY($1)"#,
        profiles
    )
    .fetch_one(db)
    .await
}

/// What may change of an account; `None` leaves a column as it is.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Whether it pays by invoice.
    pub invoiced: Option<bool>,
    /// ISO 3166-1 code of its tax country.
    pub country_code: Option<String>,
    /// Its state's code.
    pub state_code: Option<String>,
    /// Whether it buys as an export.
    pub export_supply: Option<bool>,
    /// The revision of its details; 0 for a change of single columns.
    pub revision: i32,
}

/// Changes what is known of an account; `false` when there is none, or what is known is of a later
/// revision.
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
