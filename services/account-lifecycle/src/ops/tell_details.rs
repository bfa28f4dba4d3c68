//! Sends changed billing details to billing and payments (D1).

use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, accounts, billing_details};

/// Sends the current billing details of an account to the other services and records it; idempotent.
pub async fn finish(ctx: &Ctx, root: Uuid) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let details = &billing_details::get(&mut tx, root)
        .await?
        .ok_or(Error::Stored("billing details"))?;
    let account = accounts::get(&mut tx, details.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    tx.commit().await?;
    match ctx.tell_billing_details(details, account.invoiced).await {
        // The account was closed in the meantime, so the details are no longer needed.
        Err(status) if is_closed(&status) => {}
        told => told?,
    }
    let mut tx = ctx.db.begin_as(Tenant::Root(details.root_id)).await?;
    billing_details::set_told(&mut tx, details.root_id, details.revision).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether a service refused because the account is closed.
fn is_closed(status: &Status) -> bool {
    let info = status.get_details_error_info();
    info.is_some_and(|info| info.reason == "ACCOUNT_CLOSED")
}
