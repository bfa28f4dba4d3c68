//! `payments.disputes`

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A charge that its payer contests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The root account.
    pub root_id: Uuid,
    /// Its id.
    pub dispute_id: Uuid,
    /// The charge.
    pub charge_id: Uuid,
    /// The provider.
    pub provider_code: String,
    /// The provider's own id.
    pub provider_id: String,
    /// The currency.
    pub currency: String,
    /// How much of the charge is contested.
    pub amount_minor: i64,
    /// What the provider has taken back and not returned.
    pub withheld_minor: i64,
    /// Why, in the provider's word.
    pub reason: String,
    /// INQUIRY, OPEN, WON, LOST or WITHDRAWN.
    pub state: String,
    /// Until when evidence is taken.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// When it was opened, by the provider's book.
    pub created_at: DateTime<Utc>,
    /// When it changed last.
    pub updated_at: DateTime<Utc>,
}

/// Keeps a dispute as the provider's book has it; gives its id where that changes anything.
pub async fn keep(db: &mut PgConnection, it: &Dispute) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- payments.disputes.keep
        INSERT INTO payments.disputes AS d (root_id, dispute_id, charge_id, provider_code, provider_id, currency,
            amount_minor, withheld_minor, reason, state, evidence_due_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
        ON CONFLICT (provider_code, provider_id) DO UPDATE
        SET withheld_minor = $8, state = $10, evidence_due_at = $11, updated_at = $13
        WHERE (d.withheld_minor, d.state, d.evidence_due_at) IS DISTINCT FROM ($8, $10, $11)
        RETURNING dispute_id",
        it.root_id,
        it.dispute_id,
        it.charge_id,
        it.provider_code,
        it.provider_id,
        it.currency,
        it.amount_minor,
        it.withheld_minor,
        it.reason,
        it.state,
        it.evidence_due_at,
        it.created_at,
        it.updated_at
    )
    .fetch_optional(db)
    .await
}

/// The dispute `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Dispute>> {
    sqlx::query_as!(
        Dispute,
        "-- payments.disputes.get
        SELECT root_id, dispute_id, charge_id, provider_code, provider_id, currency, amount_minor, withheld_minor, reason,
               state, evidence_due_at, created_at, updated_at
        FROM payments.disputes WHERE dispute_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// Whether the provider holds back money of a charge.
pub async fn withheld(db: &mut PgConnection, charge: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.disputes.withheld
        SELECT EXISTS (SELECT FROM payments.disputes WHERE charge_id = $1 AND 0 < withheld_minor) AS "any!""#,
        charge
    )
    .fetch_one(db)
    .await
}

/// Which disputes are listed; empty and `None` for all.
#[derive(Debug, Clone, Default)]
pub struct Filter<'a> {
    /// Only this root account's.
    pub root: Option<Uuid>,
    /// Only this charge's.
    pub charge: Option<Uuid>,
    /// Only those in this state.
    pub state: &'a str,
}

/// Up to `limit` disputes before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &Filter<'_>,
    before: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Dispute>> {
    let (created_at, id) = before.unzip();
    sqlx::query_as!(
        Dispute,
        "-- payments.disputes.list
        SELECT root_id, dispute_id, charge_id, provider_code, provider_id, currency, amount_minor, withheld_minor, reason,
               state, evidence_due_at, created_at, updated_at
        FROM payments.disputes
        WHERE ($1::uuid IS NULL OR root_id = $1) AND ($2::uuid IS NULL OR charge_id = $2) AND ($3 = '' OR state = $3)
          AND ($4::timestamptz IS NULL OR (created_at, dispute_id) < ($4, $5::uuid))
        ORDER BY created_at DESC, dispute_id DESC LIMIT $6",
        filter.root,
        filter.charge,
        filter.state,
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
