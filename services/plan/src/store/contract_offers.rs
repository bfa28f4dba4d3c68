//! `plan.contract_offers`

use std::collections::BTreeMap;

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;
use values::{AccountId, ContractOfferId};

/// A contract offer, as stored.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Offer id.
    pub offer_id: Uuid,
    /// Root account that receives the offer.
    pub root_id: Uuid,
    /// Family code.
    pub family_code: String,
    /// Plan code.
    pub plan_code: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Monthly minimum, in minor units.
    pub minimum_minor: i64,
    /// Term in months.
    pub term_months: i32,
    /// Entitlement values that replace those of the plan, by feature.
    pub entitlements: Json<BTreeMap<String, String>>,
    /// Operator who made the offer.
    pub offered_by: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Expiry time.
    pub expires_at: DateTime<Utc>,
    /// Acceptance time; `None` until it is accepted.
    pub accepted_at: Option<DateTime<Utc>>,
}

/// Inserts an offer.
pub async fn insert(db: &mut PgConnection, offer: &Offer) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.contract_offers.insert
        INSERT INTO plan.contract_offers (offer_id, root_id, family_code, plan_code, currency, minimum_minor, term_months,
                                          entitlements, offered_by, created_at, expires_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        offer.offer_id,
        offer.root_id,
        offer.family_code,
        offer.plan_code,
        offer.currency,
        offer.minimum_minor,
        offer.term_months,
        Json(&offer.entitlements.0) as _,
        offer.offered_by,
        offer.created_at,
        offer.expires_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Locks and returns the offer `id`.
pub async fn lock(db: &mut PgConnection, id: ContractOfferId) -> sqlx::Result<Option<Offer>> {
    sqlx::query_as!(
        Offer,
        r#"-- plan.contract_offers.lock
        SELECT offer_id, root_id, family_code, plan_code, currency, minimum_minor, term_months,
               entitlements AS "entitlements: Json<BTreeMap<String, String>>", offered_by, created_at, expires_at,
               accepted_at
        FROM plan.contract_offers WHERE offer_id = $1 FOR UPDATE"#,
        id.uuid()
    )
    .fetch_optional(db)
    .await
}

/// The offer `id`.
pub async fn get(db: &mut PgConnection, id: ContractOfferId) -> sqlx::Result<Option<Offer>> {
    sqlx::query_as!(
        Offer,
        r#"-- plan.contract_offers.get
        SELECT offer_id, root_id, family_code, plan_code, currency, minimum_minor, term_months,
               entitlements AS "entitlements: Json<BTreeMap<String, String>>", offered_by, created_at, expires_at,
               accepted_at
        FROM plan.contract_offers WHERE offer_id = $1"#,
        id.uuid()
    )
    .fetch_optional(db)
    .await
}

/// The latest offer for a plan that an account has accepted.
pub async fn accepted(
    db: &mut PgConnection,
    root: AccountId,
    plan: &str,
) -> sqlx::Result<Option<Offer>> {
    sqlx::query_as!(
        Offer,
        r#"-- plan.contract_offers.accepted
        SELECT offer_id, root_id, family_code, plan_code, currency, minimum_minor, term_months,
               entitlements AS "entitlements: Json<BTreeMap<String, String>>", offered_by, created_at, expires_at,
               accepted_at
        FROM plan.contract_offers WHERE root_id = $1 AND plan_code = $2 AND accepted_at IS NOT NULL
        ORDER BY accepted_at DESC, offer_id DESC LIMIT 1"#,
        root.uuid(),
        plan
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` offers older than `before`, the newest first: of a root account, or of all.
pub async fn list(
    db: &mut PgConnection,
    root: Option<AccountId>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Offer>> {
    let (at, id) = before.unzip();
    sqlx::query_as!(
        Offer,
        r#"-- plan.contract_offers.list
        SELECT offer_id, root_id, family_code, plan_code, currency, minimum_minor, term_months,
               entitlements AS "entitlements: Json<BTreeMap<String, String>>", offered_by, created_at, expires_at,
               accepted_at
        FROM plan.contract_offers
        WHERE ($1::uuid IS NULL OR root_id = $1)
          AND ($2::timestamptz IS NULL OR (created_at, offer_id) < ($2, $3::uuid))
        ORDER BY created_at DESC, offer_id DESC LIMIT $4"#,
        root.map(AccountId::uuid),
        at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Marks an offer as accepted.
pub async fn accept(
    db: &mut PgConnection,
    id: ContractOfferId,
    now: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- plan.contract_offers.accept
        UPDATE plan.contract_offers SET accepted_at = $2 WHERE offer_id = $1 AND accepted_at IS NULL",
        id.uuid(),
        now
    )
    .execute(db)
    .await?;
    Ok(())
}
