//! `account.resources`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A resource as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its root account.
    pub root_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Its id.
    pub resource_id: Uuid,
    /// Its kind.
    pub kind_code: String,
    /// Its id in the product that it is of.
    pub sid: String,
    /// Its name for people.
    pub display_name: String,
    /// What it is.
    pub document: String,
    /// SHA-256 of the document.
    pub digest: Vec<u8>,
    /// When it was recorded.
    pub created_at: DateTime<Utc>,
    /// When it was released.
    pub released_at: Option<DateTime<Utc>>,
    /// Whether billing rents it to the account.
    pub rented: bool,
}

/// Adds a resource; whether there was none with its kind and sid.
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

/// The resource `id`, while it is held.
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

/// Up to `limit` resources of an account before `before`, newest first, of a kind or of all; without documents.
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

/// How many resources of these kinds a root account with its subaccounts held at an instant.
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

/// Releases a resource for ever; what it was is forgotten.
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

/// Releases the numbers that an account holds; what else it has goes when its data are deleted.
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

/// Releases every resource of these kinds that a root account with its subaccounts holds.
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

/// Deletes what accounts of a root hold and held.
pub async fn erase(db: &mut PgConnection, root: Uuid, accounts: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.erase
        DELETE FROM account.resources WHERE root_id = $1 AND account_id = ANY($2)",
        root,
        accounts
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Takes back a number whose first month was not paid: it was never the account's.
pub async fn give_up(db: &mut PgConnection, id: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.resources.give_up\nDELETE FROM account.resources WHERE resource_id = $1 AND rented",
        id
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` resources that were released and that billing still rents, with their root accounts.
pub async fn to_give_back(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        "-- account.resources.to_give_back
        SELECT root_id, resource_id FROM account.resources r WHERE rented AND released_at IS NOT NULL
          -- One whose order has not ended may not be rented yet.
          AND NOT EXISTS (SELECT FROM account.orders o WHERE o.order_id = r.resource_id
                          AND o.state IN ('COMMITTING', 'AWAITING_PAYMENT', 'AWAITING_SETTLEMENT'))
        ORDER BY released_at LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|it| (it.root_id, it.resource_id))
        .collect())
}

/// Notes that billing does not rent a resource any more.
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

/// Whether a resource is held, or was.
pub async fn is_known(db: &mut PgConnection, id: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.resources.is_known
        SELECT EXISTS (SELECT FROM account.resources WHERE resource_id = $1) AS "known!""#,
        id
    )
    .fetch_one(db)
    .await
}
