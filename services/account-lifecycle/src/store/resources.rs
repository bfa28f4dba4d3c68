//! `account.resources`

use std::fmt;

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::orders::malformed;
use crate::domain::purchase::{OrderKind, Purchase};

/// A resource of an account, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Root account.
    pub root_id: Uuid,
    /// Account that holds it.
    pub account_id: Uuid,
    /// Resource id.
    pub resource_id: Uuid,
    /// Kind, such as `PHONE_NUMBER`.
    pub kind_code: String,
    /// Id in the product that manages it, such as the number itself.
    pub sid: String,
    /// Name given by the customer.
    pub display_name: String,
    /// Content; empty once it is released.
    pub document: String,
    /// SHA-256 of the content.
    pub digest: Vec<u8>,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
    /// When it was released; `None` while it is held.
    pub released_at: Option<DateTime<Utc>>,
    /// Whether billing charges a monthly rental for it.
    pub rented: bool,
}

/// Inserts a resource. `false` if the account already holds one of this kind and sid.
pub async fn insert(db: &mut PgConnection, it: &Resource) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- account.resources.insert
        INSERT INTO account.resources (root_id, account_id, resource_id, kind_code, sid, display_name, document, digest,
                                       created_at, rented)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        it.root_id,
        it.account_id,
        it.resource_id,
        it.kind_code,
        it.sid,
        it.display_name,
        it.document,
        it.digest,
        it.created_at,
        it.rented
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The resource `id`, unless it has been released.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Resource>> {
    sqlx::query_as!(
        Resource,
        "-- account.resources.get
        SELECT root_id, account_id, resource_id, kind_code, sid, display_name, document, digest, created_at, released_at,
               rented
        FROM account.resources WHERE resource_id = $1 AND released_at IS NULL",
        id
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` resources of an account before `before`, newest first, of one kind or all; without their content.
pub async fn list(
    db: &mut PgConnection,
    (account, kind): (Uuid, Option<&str>),
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Resource>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Resource,
        r#"-- account.resources.list
        SELECT root_id, account_id, resource_id, kind_code, sid, display_name, '' AS "document!", digest, created_at,
               released_at, rented
        FROM account.resources
        WHERE account_id = $1 AND released_at IS NULL AND ($2::text IS NULL OR kind_code = $2)
          AND ($3::timestamptz IS NULL OR (created_at, resource_id) < ($3, $4::uuid))
        ORDER BY created_at DESC, resource_id DESC LIMIT $5"#,
        account,
        kind,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Counts the resources of these kinds that a root account and its subaccounts held at an instant.
pub async fn count(
    db: &mut PgConnection,
    (root, kinds): (Uuid, &[String]),
    at: DateTime<Utc>,
) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.resources.count
        SELECT count(*) AS "held!" FROM account.resources
        WHERE root_id = $1 AND kind_code = ANY($2) AND created_at <= $3
          AND (released_at IS NULL OR $3 < released_at)"#,
        root,
        kinds,
        at
    )
    .fetch_one(db)
    .await
}

/// Counts all resources that an account holds.
pub async fn count_held(db: &mut PgConnection, account: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- account.resources.count_held
        SELECT count(*) AS "held!" FROM account.resources WHERE account_id = $1 AND released_at IS NULL"#,
        account
    )
    .fetch_one(db)
    .await
}

/// Releases a resource permanently and erases its content.
pub async fn release(db: &mut PgConnection, id: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.release
        UPDATE account.resources SET released_at = greatest(created_at, $2), document = ''
        WHERE resource_id = $1 AND released_at IS NULL",
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Releases the numbers that an account holds. Other resources go when the account's data is deleted.
pub async fn release_numbers(
    db: &mut PgConnection,
    account: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.release_numbers
        UPDATE account.resources SET released_at = greatest(created_at, $2), document = ''
        WHERE account_id = $1 AND kind_code IN ('PHONE_NUMBER', 'TRIAL_NUMBER') AND released_at IS NULL",
        account,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Releases every resource of these kinds that a root account and its subaccounts hold.
pub async fn release_all(
    db: &mut PgConnection,
    (root, kinds): (Uuid, &[String]),
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.release_all
        UPDATE account.resources SET released_at = greatest(created_at, $3), document = ''
        WHERE root_id = $1 AND kind_code = ANY($2) AND released_at IS NULL",
        root,
        kinds,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes a number whose first month was not paid, as it never belonged to the account.
pub async fn give_up(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.give_up\nDELETE FROM account.resources WHERE resource_id = $1 AND rented",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A number of a trial.
#[derive(Debug)]
pub struct TrialNumber {
    /// Resource id.
    pub resource_id: Uuid,
    /// Type of the number in the price list, as it was ordered.
    pub code: String,
}

/// The numbers that a root account and its subaccounts ordered as a trial, held at an instant and have not rented. One
/// whose order was erased is not among them.
pub async fn of_trial(
    db: &mut PgConnection,
    root: Uuid,
    at: DateTime<Utc>,
) -> sqlx::Result<Vec<TrialNumber>> {
    let rows = sqlx::query!(
        "-- account.resources.of_trial
        SELECT r.resource_id, o.item FROM account.resources r JOIN account.orders o ON o.order_id = r.resource_id
        WHERE r.root_id = $1 AND r.kind_code = 'TRIAL_NUMBER' AND NOT r.rented
          AND (r.released_at IS NULL OR $2 < r.released_at)
        ORDER BY r.created_at, r.resource_id",
        root,
        at
    )
    .fetch_all(db)
    .await?;
    let mut held = Vec::with_capacity(rows.len());
    for row in rows {
        let ordered = Purchase::read(OrderKind::BuyNumber, &row.item);
        let ordered = ordered.map_err(|error| malformed("account.orders.item", error))?;
        if let Purchase::BuyNumber(number) = ordered {
            held.push(TrialNumber {
                resource_id: row.resource_id,
                code: number.code,
            });
        }
    }
    Ok(held)
}

/// Records that the rental of a resource has begun. If the resource was released meanwhile, the rental is ended next.
pub async fn set_rented(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.set_rented
        UPDATE account.resources SET rented = true WHERE resource_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A released resource whose rental in billing has yet to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rented {
    /// Its root account.
    pub root_id: Uuid,
    /// Resource id.
    pub resource_id: Uuid,
}

impl fmt::Display for Rented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.resource_id, f)
    }
}

/// Up to `limit` released resources whose rental has yet to be ended and that no worker has claimed.
pub async fn to_give_back(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Rented>> {
    sqlx::query_as!(
        Rented,
        "-- account.resources.to_give_back
        SELECT root_id, resource_id FROM account.resources r WHERE rented AND released_at IS NOT NULL
          -- One whose order has not ended may not be rented yet.
          AND NOT EXISTS (SELECT FROM account.orders o WHERE o.order_id = r.resource_id
                          AND o.state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT'))
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'give_back' AND c.key = r.resource_id::text
                        AND clock_timestamp() < c.held_until)
        ORDER BY released_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// Whether a rental has yet to be ended, apart from failed ones that are held back.
pub async fn any_to_give_back(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.resources.any_to_give_back
        SELECT EXISTS (SELECT FROM account.resources r WHERE rented AND released_at IS NOT NULL
          AND NOT EXISTS (SELECT FROM account.orders o WHERE o.order_id = r.resource_id
                          AND o.state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT'))
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'give_back' AND c.key = r.resource_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)) AS "any!""#
    )
    .fetch_one(db)
    .await
}

/// Records that the rental of a resource has ended.
pub async fn set_given_back(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.set_given_back
        UPDATE account.resources SET rented = false WHERE resource_id = $1",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a resource exists, held or released.
pub async fn is_known(db: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.resources.is_known
        SELECT EXISTS (SELECT FROM account.resources WHERE resource_id = $1) AS "known!""#,
        id
    )
    .fetch_one(db)
    .await
}
