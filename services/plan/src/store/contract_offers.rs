//! `plan.contract_offers`

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;
use values::{AccountId, ContractOfferId};

/// An offer as stored.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Its id.
    pub offer_id: Uuid,
    /// The root account it is made to.
    pub root_id: Uuid,
    /// The family.
    pub family_code: String,
    /// The plan.
    pub plan_code: String,
    /// The currency of its price.
    pub currency: String,
    /// What a month costs at least, in minor units.
    pub minimum_minor: i64,
    /// Months of the term.
    pub term_months: i32,
    /// Values in place of the plan's own, by feature.
    pub entitlements: Json<BTreeMap<String, String>>,
    /// Who made it.
    pub offered_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it can be accepted.
    pub expires_at: DateTime<Utc>,
    /// When it was.
    pub accepted_at: Option<DateTime<Utc>>,
}

/// Adds an offer.
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

/// The offer `id`, locked.
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

/// The offer of a plan that an account accepted last.
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

/// Notes that an offer was accepted.
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
