//! `payments.disputes`

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::domain::dispute::State;

chassis::stored_as_text!(State, "payments.disputes.state");

/// A charge that its payer disputes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The root account.
    pub root_id: Uuid,
    /// Dispute id.
    pub dispute_id: Uuid,
    /// Disputed charge.
    pub charge_id: Uuid,
    /// Provider code.
    pub provider_code: String,
    /// Provider's id of the dispute.
    pub provider_id: String,
    /// ISO 4217 code.
    pub currency: String,
    /// Disputed part of the charge, in minor units.
    pub amount_minor: i64,
    /// Amount that the provider withholds, in minor units.
    pub withheld_minor: i64,
    /// Dispute reason in the provider's terms.
    pub reason: String,
    /// State.
    pub state: State,
    /// Deadline for evidence.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// When it was opened according to the provider.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
}

/// The provider's ids of undecided disputes.
pub async fn undecided(db: &mut PgConnection, provider: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "-- payments.disputes.undecided
        SELECT provider_id FROM payments.disputes WHERE provider_code = $1 AND state IN ('INQUIRY', 'OPEN')",
        provider
    )
    .fetch_all(db)
    .await
}

/// The revision of a provider's dispute; 0 if it is not stored yet.
pub async fn revision(
    db: &mut PgConnection,
    provider: &str,
    provider_id: &str,
) -> sqlx::Result<i32> {
    let known = sqlx::query_scalar!(
        "-- payments.disputes.revision
        SELECT revision FROM payments.disputes WHERE provider_code = $1 AND provider_id = $2",
        provider,
        provider_id
    )
    .fetch_optional(db)
    .await?;
    Ok(known.unwrap_or(0))
}

/// Whether a charge by a method is disputed or its dispute was lost. The payer did not want that charge.
pub async fn method_contested(
    db: &mut PgConnection,
    root: Uuid,
    method: Uuid,
) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.disputes.method_contested
        SELECT EXISTS (
            SELECT FROM payments.disputes d
            JOIN payments.movements m ON m.root_id = d.root_id AND m.movement_id = d.charge_id
            WHERE d.root_id = $1 AND m.method_id = $2 AND d.state IN ('OPEN', 'LOST')
        ) AS "contested!""#,
        root,
        method
    )
    .fetch_one(db)
    .await
}

/// What can change of a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Amount that the provider withholds, in minor units.
    pub withheld_minor: i64,
    /// State.
    pub state: State,
    /// Deadline for evidence.
    pub evidence_due_at: Option<DateTime<Utc>>,
    /// Number of changes so far.
    pub revision: i32,
}

impl Known {
    /// Whether a dispute has these values already.
    pub fn is_same(&self, it: &Dispute) -> bool {
        self.withheld_minor == it.withheld_minor
            && self.state == it.state
            && self.evidence_due_at == it.evidence_due_at
    }
}

/// Locks a provider's dispute and returns what can change of it; `None` if it is not stored yet.
pub async fn lock(
    db: &mut PgConnection,
    provider: &str,
    provider_id: &str,
) -> sqlx::Result<Option<Known>> {
    sqlx::query_as!(
        Known,
        "-- payments.disputes.lock
        SELECT withheld_minor, state, evidence_due_at, revision FROM payments.disputes
        WHERE provider_code = $1 AND provider_id = $2 FOR UPDATE",
        provider,
        provider_id
    )
    .fetch_optional(db)
    .await
}

/// Changes a stored dispute, which the caller has locked; returns its id.
pub async fn change(db: &mut PgConnection, it: &Dispute) -> sqlx::Result<Uuid> {
    sqlx::query_scalar!(
        "-- payments.disputes.change
            UPDATE payments.disputes
            SET withheld_minor = $3, state = $4, evidence_due_at = $5, updated_at = $6, revision = revision + 1
            WHERE provider_code = $1 AND provider_id = $2
            RETURNING dispute_id",
        it.provider_code,
        it.provider_id,
        it.withheld_minor,
        it.state.as_str(),
        it.evidence_due_at,
        it.updated_at
    )
    .fetch_one(db)
    .await
}

/// Inserts a dispute and returns its id; `None` if another has inserted it meanwhile.
pub async fn insert(db: &mut PgConnection, it: &Dispute) -> sqlx::Result<Option<Uuid>> {
    sqlx::query_scalar!(
        "-- payments.disputes.insert
        INSERT INTO payments.disputes (root_id, dispute_id, charge_id, provider_code, provider_id, currency,
            amount_minor, withheld_minor, reason, state, evidence_due_at, created_at, updated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING
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
        it.state.as_str(),
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

/// Whether a charge has an open dispute.
pub async fn is_open(db: &mut PgConnection, charge: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.disputes.is_open
        SELECT EXISTS (SELECT FROM payments.disputes WHERE charge_id = $1 AND state = 'OPEN') AS "any!""#,
        charge
    )
    .fetch_one(db)
    .await
}

/// Amount of a charge that was lost in disputes, in minor units; it can't be refunded again.
pub async fn lost_minor(db: &mut PgConnection, charge: Uuid) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"-- payments.disputes.lost
        SELECT coalesce(sum(withheld_minor), 0)::bigint AS "lost!" FROM payments.disputes
        WHERE charge_id = $1 AND state = 'LOST'"#,
        charge
    )
    .fetch_one(db)
    .await
}

/// Filter of a list; `None` matches all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this root account.
    pub root: Option<Uuid>,
    /// Of this charge.
    pub charge: Option<Uuid>,
    /// In this state.
    pub state: Option<State>,
}

/// Up to `limit` disputes before `before`, newest first.
pub async fn list(
    db: &mut PgConnection,
    filter: &Filter,
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
        filter.state.map_or("", State::as_str),
        created_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
