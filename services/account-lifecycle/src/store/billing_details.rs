//! `account.billing_details`

use chassis::PgConnection;
use uuid::Uuid;

pub use crate::domain::billing_details::BillingDetails;

/// The billing details of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<BillingDetails>> {
    sqlx::query_as!(
        BillingDetails,
        "-- account.billing_details.get
        SELECT root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email,
               country_reason, revision
        FROM account.billing_details WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Replaces the billing details of a root account; returns them with their new revision.
pub async fn set(db: &mut PgConnection, it: &BillingDetails) -> sqlx::Result<BillingDetails> {
    let revision = sqlx::query_scalar!(
        "-- account.billing_details.set
        INSERT INTO account.billing_details AS d
            (root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, country_reason,
             revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1)
        ON CONFLICT (root_id) DO UPDATE
        SET recipient_name = $2, address = $3, country_code = $4, state_code = $5, tax_id = $6, export_supply = $7,
            email = $8, country_reason = $9, revision = d.revision + 1
        RETURNING revision",
        it.root_id,
        it.recipient_name,
        it.address,
        it.country_code,
        it.state_code,
        it.tax_id,
        it.export_supply,
        it.email,
        it.country_reason
    )
    .fetch_one(db)
    .await?;
    Ok(BillingDetails {
        revision,
        ..it.clone()
    })
}

/// Increments the revision without changing the details; inserts empty details if there are none.
pub async fn touch(db: &mut PgConnection, root: Uuid) -> sqlx::Result<BillingDetails> {
    sqlx::query_as!(
        BillingDetails,
        "-- account.billing_details.touch
        INSERT INTO account.billing_details AS d
            (root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, revision)
        VALUES ($1, '', '', '', '', '', false, '', 1)
        ON CONFLICT (root_id) DO UPDATE SET revision = d.revision + 1
        RETURNING root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email,
                  country_reason, revision",
        root
    )
    .fetch_one(db)
    .await
}

/// Records the revision that billing and payments have received.
pub async fn set_told(db: &mut PgConnection, root: Uuid, revision: i32) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.billing_details.set_told
        UPDATE account.billing_details SET told_revision = greatest(told_revision, $2) WHERE root_id = $1",
        root,
        revision
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Up to `limit` root accounts whose details billing and payments have yet to receive and that no worker has claimed.
pub async fn to_tell(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "-- account.billing_details.to_tell
        SELECT root_id FROM account.billing_details
        WHERE told_revision < revision
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'tell_billing_details' AND c.key = root_id::text
                        AND clock_timestamp() < c.held_until)
        LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// Whether details have yet to be sent, apart from failed ones that are held back.
pub async fn any_to_tell(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"-- account.billing_details.any_to_tell
        SELECT EXISTS (SELECT FROM account.billing_details
                       WHERE told_revision < revision
          AND NOT EXISTS (SELECT FROM account.job_claims c WHERE c.job = 'tell_billing_details' AND c.key = root_id::text
                        AND c.state IN ('FAILED', 'PARKED') AND clock_timestamp() < c.held_until)) AS "any!""#
    )
    .fetch_one(db)
    .await
}
