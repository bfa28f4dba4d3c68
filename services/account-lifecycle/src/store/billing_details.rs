//! `account.billing_details`

use sqlx::PgConnection;
use uuid::Uuid;

pub use crate::domain::billing_details::BillingDetails;

/// The details of a root account.
pub async fn get(db: &mut PgConnection, root: Uuid) -> sqlx::Result<Option<BillingDetails>> {
    sqlx::query_as!(
        BillingDetails,
        "-- account.billing_details.get
        SELECT root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, revision
        FROM account.billing_details WHERE root_id = $1",
        root
    )
    .fetch_optional(db)
    .await
}

/// Keeps details in the place of those before; gives them with their revision.
pub async fn set(db: &mut PgConnection, it: &BillingDetails) -> sqlx::Result<BillingDetails> {
    let revision = sqlx::query_scalar!(
        "-- account.billing_details.set
        INSERT INTO account.billing_details AS d
            (root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1)
        ON CONFLICT (root_id) DO UPDATE
        SET recipient_name = $2, address = $3, country_code = $4, state_code = $5, tax_id = $6, export_supply = $7,
            email = $8, revision = d.revision + 1
        RETURNING revision",
        it.root_id,
        it.recipient_name,
        it.address,
        it.country_code,
        it.state_code,
        it.tax_id,
        it.export_supply,
        it.email
    )
    .fetch_one(db)
    .await?;
    Ok(BillingDetails {
        revision,
        ..it.clone()
    })
}

/// Counts the revision of details on, which stay as they are; empty ones where there are none.
pub async fn touch(db: &mut PgConnection, root: Uuid) -> sqlx::Result<BillingDetails> {
    sqlx::query_as!(
        BillingDetails,
        "-- account.billing_details.touch
        INSERT INTO account.billing_details AS d
            (root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, revision)
        VALUES ($1, '', '', '', '', '', false, '', 1)
        ON CONFLICT (root_id) DO UPDATE SET revision = d.revision + 1
        RETURNING root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, revision",
        root
    )
    .fetch_one(db)
    .await
}

/// Notes that billing and payments know a revision.
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

/// Up to `limit` details that billing and payments do not know.
pub async fn to_tell(db: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<BillingDetails>> {
    sqlx::query_as!(
        BillingDetails,
        "-- account.billing_details.to_tell
        SELECT root_id, recipient_name, address, country_code, state_code, tax_id, export_supply, email, revision
        FROM account.billing_details WHERE told_revision < revision LIMIT $1",
        limit
    )
    .fetch_all(db)
    .await
}

/// Deletes the details of a root account.
pub async fn erase(db: &mut PgConnection, root: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "-- account.billing_details.erase\nDELETE FROM account.billing_details WHERE root_id = $1",
        root
    )
    .execute(db)
    .await?;
    Ok(())
}
