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

/// The provider's ids of disputes that may still change.
pub async fn undecided(db: &mut PgConnection, provider: &str) -> sqlx::Result<Vec<String>> {
    sqlx::query_scalar!(
        "-- payments.disputes.undecided
        SELECT provider_id FROM payments.disputes WHERE provider_code = $1 AND state IN ('INQUIRY', 'OPEN')",
        provider
    )
    .fetch_all(db)
    .await
}

/// The revision of a provider's dispute; 0 for one that is not known.
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

/// Whether a charge by a method is contested, or was lost: its payer did not want it.
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

/// What became of a reading of the book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It changed the dispute with this id.
    Changed(Uuid),
    /// It is what is known.
    Same,
    /// Another reading has changed it since this one began.
    Overtaken,
}

/// Keeps a dispute as the provider's book had it when its revision was `seen`.
pub async fn keep(db: &mut PgConnection, it: &Dispute, seen: i32) -> sqlx::Result<Kept> {
    let known = sqlx::query!(
        "-- payments.disputes.lock
        SELECT withheld_minor, state, evidence_due_at, revision FROM payments.disputes
        WHERE provider_code = $1 AND provider_id = $2 FOR UPDATE",
        it.provider_code,
        it.provider_id
    )
    .fetch_optional(&mut *db)
    .await?;
    if let Some(known) = known {
        if known.revision != seen {
            return Ok(Kept::Overtaken);
        }
        let same = known.withheld_minor == it.withheld_minor
            && known.state == it.state
            && known.evidence_due_at == it.evidence_due_at;
        if same {
            return Ok(Kept::Same);
        }
        let id = sqlx::query_scalar!(
            "-- payments.disputes.change
            UPDATE payments.disputes
            SET withheld_minor = $3, state = $4, evidence_due_at = $5, updated_at = $6, revision = revision + 1
            WHERE provider_code = $1 AND provider_id = $2
            RETURNING dispute_id",
            it.provider_code,
            it.provider_id,
            it.withheld_minor,
            it.state,
            it.evidence_due_at,
            it.updated_at
        )
        .fetch_one(db)
        .await?;
        return Ok(Kept::Changed(id));
    }
    let new = sqlx::query_scalar!(
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
        it.state,
        it.evidence_due_at,
        it.created_at,
        it.updated_at
    )
    .fetch_optional(db)
    .await?;
    Ok(new.map_or(Kept::Overtaken, Kept::Changed))
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

/// Whether it is still open what becomes of money of a charge that the provider holds back.
pub async fn is_open(db: &mut PgConnection, charge: Uuid) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- payments.disputes.is_open
        SELECT EXISTS (SELECT FROM payments.disputes WHERE charge_id = $1 AND state = 'OPEN') AS "any!""#,
        charge
    )
    .fetch_one(db)
    .await
}

/// What of a charge is lost to its payer, in minor units: it can't be paid back once more.
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
