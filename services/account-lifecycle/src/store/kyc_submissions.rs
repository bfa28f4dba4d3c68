//! `account.kyc_submissions`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::domain::kyc::KycState;

chassis::stored_as_text!(
    KycState,
    "account.kyc_submissions.state or account.accounts.kyc_state"
);

/// A KYC submission as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// The root account.
    pub root_id: Uuid,
    /// Submission id.
    pub kyc_id: Uuid,
    /// State.
    pub state: KycState,
    /// Country of the business, ISO 3166 code.
    pub country_code: String,
    /// Registered name of the business.
    pub legal_name: String,
    /// Whether the signatory is a director.
    pub signatory_is_director: bool,
    /// Metadata of the documents.
    pub documents: Value,
    /// Time of the last submission.
    pub submitted_at: DateTime<Utc>,
    /// Date by which it should be reviewed.
    pub review_due_on: NaiveDate,
    /// Time of the last decision.
    pub reviewed_at: Option<DateTime<Utc>>,
    /// Reviewer; empty before a review.
    pub reviewer: String,
    /// Why it was rejected or withdrawn, or what information is required.
    pub reason: String,
}

/// Inserts or replaces a submission.
pub async fn set(db: &mut PgConnection, it: &Submission) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.kyc_submissions.set
        INSERT INTO account.kyc_submissions (root_id, kyc_id, state, country_code, legal_name, signatory_is_director,
            documents, submitted_at, review_due_on, reviewed_at, reviewer, reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        ON CONFLICT (kyc_id) DO UPDATE
        SET state = $3, country_code = $4, legal_name = $5, signatory_is_director = $6, documents = $7, submitted_at = $8,
            review_due_on = $9, reviewed_at = $10, reviewer = $11, reason = $12",
        it.root_id,
        it.kyc_id,
        it.state.as_str(),
        it.country_code,
        it.legal_name,
        it.signatory_is_director,
        it.documents,
        it.submitted_at,
        it.review_due_on,
        it.reviewed_at,
        it.reviewer,
        it.reason
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The submission `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Submission>> {
    sqlx::query_as!(
        Submission,
        "-- account.kyc_submissions.get
        SELECT root_id, kyc_id, state, country_code, legal_name, signatory_is_director, documents, submitted_at,
               review_due_on, reviewed_at, reviewer, reason
        FROM account.kyc_submissions WHERE kyc_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The latest submission of an account.
pub async fn last(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<Submission>> {
    sqlx::query_as!(
        Submission,
        "-- account.kyc_submissions.last
        SELECT root_id, kyc_id, state, country_code, legal_name, signatory_is_director, documents, submitted_at,
               review_due_on, reviewed_at, reviewer, reason
        FROM account.kyc_submissions WHERE root_id = $1 ORDER BY kyc_id DESC LIMIT 1",
        root
    )
    .fetch_optional(db)
    .await
}

/// The country of the newest submission of an account that was ever approved, also where it was withdrawn since.
pub async fn country_once_approved(
    db: &mut PgConnection,
    root: Uuid,
) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!(
        "-- account.kyc_submissions.country_once_approved
        SELECT country_code FROM account.kyc_submissions
        WHERE root_id = $1 AND state IN ('APPROVED', 'WITHDRAWN') ORDER BY kyc_id DESC LIMIT 1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Up to `limit` submissions after `after`, longest waiting first; in a state or waiting for a reviewer, of
/// an account or of all.
pub async fn list(
    db: &mut PgConnection,
    (root, state): (Option<Uuid>, Option<KycState>),
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> sqlx::Result<Vec<Submission>> {
    let (after_at, after_id) = after.unzip();
    sqlx::query_as!(
        Submission,
        "-- account.kyc_submissions.list
        SELECT root_id, kyc_id, state, country_code, legal_name, signatory_is_director, documents, submitted_at,
               review_due_on, reviewed_at, reviewer, reason
        FROM account.kyc_submissions
        WHERE ($1::uuid IS NULL OR root_id = $1)
          AND CASE WHEN $2::text IS NULL THEN state IN ('PENDING', 'IN_REVIEW') ELSE state = $2 END
          AND ($3::timestamptz IS NULL OR (submitted_at, kyc_id) > ($3, $4::uuid))
        ORDER BY submitted_at, kyc_id LIMIT $5",
        root,
        state.map(KycState::as_str),
        after_at,
        after_id,
        limit
    )
    .fetch_all(db)
    .await
}
