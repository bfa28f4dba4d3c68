//! `payments.methods`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A payment method of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Root account.
    pub root_id: Uuid,
    /// Payment method id.
    pub method_id: Uuid,
    /// Method code of the catalogue.
    pub method_code: String,
    /// Provider code; empty for an offline method.
    pub provider_code: String,
    /// Provider token; empty for an offline method.
    pub provider_token: String,
    /// Card network; empty for none.
    pub network_code: String,
    /// Bank; empty for none.
    pub bank_code: String,
    /// App; empty for none.
    pub app_code: String,
    /// Issuing country; empty if unknown.
    pub country_code: String,
    /// Last four digits; empty for none.
    pub last_four: String,
    /// Last valid month, such as `2028-11`; empty for none.
    pub expiry_month: String,
    /// Whether it supports off-session charges.
    pub recurring: bool,
    /// Whether it is the default method of the account.
    pub is_default: bool,
    /// Whether the owner allows it as a fallback for off-session charges.
    pub off_session_allowed: bool,
    /// When it was added.
    pub created_at: DateTime<Utc>,
    /// When it was removed; `None` while it is usable.
    pub removed_at: Option<DateTime<Utc>>,
}

impl Method {
    /// Whether its last valid month has passed at `now`, in UTC.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        !self.expiry_month.is_empty() && self.expiry_month < now.format("%Y-%m").to_string()
    }
}

/// Inserts a payment method.
pub async fn insert(db: &mut PgConnection, method: &Method) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.methods.insert
        INSERT INTO payments.methods (root_id, method_id, method_code, provider_code, provider_token, network_code,
            bank_code, app_code, country_code, last_four, expiry_month, recurring, is_default, created_at,
            off_session_allowed)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
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
        method.created_at,
        method.off_session_allowed
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` payment methods of a root account before `before`, newest first.
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
               country_code, last_four, expiry_month, recurring, is_default, off_session_allowed, created_at, removed_at
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

/// The payment method `id` of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid, id: Uuid) -> sqlx::Result<Option<Method>> {
    sqlx::query_as!(
        Method,
        "-- payments.methods.get
        SELECT root_id, method_id, method_code, provider_code, provider_token, network_code, bank_code, app_code,
               country_code, last_four, expiry_month, recurring, is_default, off_session_allowed, created_at, removed_at
        FROM payments.methods WHERE root_id = $1 AND method_id = $2",
        root,
        id
    )
    .fetch_optional(db)
    .await
}

/// The usable payment method of a root account that has this provider token.
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

/// The default payment method of a root account.
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

/// Makes `id` the default method of a root account; `None` leaves none. The caller has locked the account.
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

/// Sets whether the payment method `id` may serve as a fallback for off-session charges. The caller has locked the
/// account.
pub async fn set_off_session_allowed(
    db: &mut PgConnection,
    root: Uuid,
    id: Uuid,
    off_session_allowed: bool,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- payments.methods.set_off_session_allowed
        UPDATE payments.methods SET off_session_allowed = $3 WHERE root_id = $1 AND method_id = $2",
        root,
        id,
        off_session_allowed
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Marks a payment method as removed.
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

/// Erases the details of a root account's payment methods, except those that a refund in progress needs.
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
    .execute(&mut *db)
    .await?;
    sqlx::query!(
        "-- payments.methods.keep_for_refunds
        UPDATE payments.methods SET kept_for_refund = true WHERE root_id = $1 AND provider_token <> ''",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Erases the retained methods of erased accounts whose refunds have ended. Returns how many.
pub async fn erase_kept(db: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<usize> {
    let done = sqlx::query!(
        "-- payments.methods.erase_kept
        UPDATE payments.methods m
        SET provider_code = '', provider_token = '', network_code = '', bank_code = '', app_code = '', last_four = '',
            expiry_month = '', is_default = false, removed_at = coalesce(removed_at, $1), kept_for_refund = false
        WHERE kept_for_refund AND NOT EXISTS (
            SELECT FROM payments.movements r WHERE r.root_id = m.root_id AND r.kind = 'REFUND'
              AND r.method_id = m.method_id AND r.state NOT IN ('SUCCEEDED', 'DECLINED', 'FAILED_NOT_SENT'))",
        now
    )
    .execute(db)
    .await?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

/// Whether a payment method of a root account is retained for a refund.
pub async fn any_kept(db: &mut PgConnection, root: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.methods.any_kept
        SELECT EXISTS (SELECT FROM payments.methods WHERE root_id = $1 AND provider_token <> '') AS "any!""#,
        root
    )
    .fetch_one(db)
    .await
}
