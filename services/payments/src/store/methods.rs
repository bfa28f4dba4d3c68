//! `payments.methods`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A way to pay that an account has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub method_id: Uuid,
    /// The catalogue's method.
    pub method_code: String,
    /// Who holds it; empty for one settled offline.
    pub provider_code: String,
    /// The provider's token; empty for one settled offline.
    pub provider_token: String,
    /// The card's network; empty for none.
    pub network_code: String,
    /// The bank; empty for none.
    pub bank_code: String,
    /// The app; empty for none.
    pub app_code: String,
    /// The country that issued it; empty when unknown.
    pub country_code: String,
    /// The last four digits; empty for none.
    pub last_four: String,
    /// The last month in which it is good, such as 2028-11; empty for none.
    pub expiry_month: String,
    /// Whether it can be charged without the person.
    pub recurring: bool,
    /// Whether it is used where none is named.
    pub is_default: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was removed; `None` while it can be used.
    pub removed_at: Option<DateTime<Utc>>,
}

impl Method {
    /// Whether its last month is over at `now`, by the calendar of UTC.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        !self.expiry_month.is_empty() && self.expiry_month < now.format("%Y-%m").to_string()
    }
}

/// Adds a method.
pub async fn insert(db: &mut PgConnection, method: &Method) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.methods.insert
        INSERT INTO payments.methods (root_id, method_id, method_code, provider_code, provider_token, network_code,
            bank_code, app_code, country_code, last_four, expiry_month, recurring, is_default, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        method.root_id,
        method.method_id,
        method.method_code,
        method.provider_code,
        method.provider_token,
        method.network_code,
        method.bank_code,
        method.app_code,
        method.country_code,
        method.last_four,
        method.expiry_month,
        method.recurring,
        method.is_default,
        method.created_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The methods of a root account, the newest first; of one id, or before one, up to `limit`.
pub async fn list(
    db: &mut PgConnection,
    root: Uuid,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Method>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Method,
        "-- payments.methods.list
        SELECT root_id, method_id, method_code, provider_code, provider_token, network_code, bank_code, app_code,
               country_code, last_four, expiry_month, recurring, is_default, created_at, removed_at
        FROM payments.methods
        WHERE root_id = $1 AND ($2::timestamptz IS NULL OR (created_at, method_id) < ($2, $3::uuid))
        ORDER BY created_at DESC, method_id DESC LIMIT $4",
        root,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// The method `id` of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid, id: Uuid) -> sqlx::Result<Option<Method>> {
    sqlx::query_as!(
        Method,
        "-- payments.methods.get
        SELECT root_id, method_id, method_code, provider_code, provider_token, network_code, bank_code, app_code,
               country_code, last_four, expiry_month, recurring, is_default, created_at, removed_at
        FROM payments.methods WHERE root_id = $1 AND method_id = $2",
        root,
        id
    )
    .fetch_optional(db)
    .await
}

/// The method of a root account that a provider's token stands for.
pub async fn by_token(
    db: &mut PgConnection,
    root: Uuid,
    provider: &str,
    token: &str,
) -> sqlx::Result<Option<Method>> {
    let id = sqlx::query_scalar!(
        "-- payments.methods.by_token
        SELECT method_id FROM payments.methods
        WHERE root_id = $1 AND provider_code = $2 AND provider_token = $3 AND provider_token <> '' AND removed_at IS NULL",
        root,
        provider,
        token
    )
    .fetch_optional(&mut *db)
    .await?;
    match id {
        Some(id) => get(db, root, id).await,
        None => Ok(None),
    }
}

/// The default method of a root account.
pub async fn default_of(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<Method>> {
    let id = sqlx::query_scalar!(
        "-- payments.methods.default_of\nSELECT method_id FROM payments.methods WHERE root_id = $1 AND is_default",
        root
    )
    .fetch_optional(&mut *db)
    .await?;
    match id {
        Some(id) => get(db, root, id).await,
        None => Ok(None),
    }
}

/// Makes `id` the default method of a root account, whose row is locked; `None` leaves none.
pub async fn set_default(db: &mut PgConnection, root: Uuid, id: Option<Uuid>) -> sqlx::Result<()> {
    for default in [None, id] {
        sqlx::query!(
            "-- payments.methods.set_default
            UPDATE payments.methods SET is_default = (method_id IS NOT DISTINCT FROM $2)
            WHERE root_id = $1 AND ((is_default AND $2::uuid IS NULL) OR method_id = $2)",
            root,
            default
        )
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// Removes a method.
pub async fn remove(
    db: &mut PgConnection,
    root: Uuid,
    id: Uuid,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.methods.remove
        UPDATE payments.methods SET removed_at = $3, is_default = false WHERE root_id = $1 AND method_id = $2",
        root,
        id,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Erases what is shown of the methods of a root account, but of those by which a refund is under way.
pub async fn erase(db: &mut PgConnection, root: Uuid, now: DateTime<Utc>) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.methods.erase
        UPDATE payments.methods m
        SET provider_code = '', provider_token = '', network_code = '', bank_code = '', app_code = '', last_four = '',
            expiry_month = '', is_default = false, removed_at = coalesce(removed_at, $2)
        WHERE root_id = $1 AND NOT EXISTS (
            SELECT FROM payments.movements r WHERE r.root_id = m.root_id AND r.kind = 'REFUND'
              AND r.method_id = m.method_id AND r.state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT'))",
        root,
        now
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Erases the methods of erased accounts by which no refund is under way any more; gives how many.
pub async fn erase_kept(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<usize> {
    let done = sqlx::query!(
        "-- payments.methods.erase_kept
        UPDATE payments.methods m
        SET provider_code = '', provider_token = '', network_code = '', bank_code = '', app_code = '', last_four = '',
            expiry_month = '', is_default = false, removed_at = coalesce(removed_at, $1)
        WHERE provider_token <> ''
          AND root_id IN (SELECT root_id FROM payments.accounts WHERE erased_at IS NOT NULL)
          AND NOT EXISTS (
            SELECT FROM payments.movements r WHERE r.root_id = m.root_id AND r.kind = 'REFUND'
              AND r.method_id = m.method_id AND r.state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT'))",
        now
    )
    .execute(db)
    .await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// Whether a method of a root account is kept for a refund.
pub async fn any_kept(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.methods.any_kept
        SELECT EXISTS (SELECT FROM payments.methods WHERE root_id = $1 AND provider_token <> '') AS "any!""#,
        root
    )
    .fetch_one(db)
    .await
}
