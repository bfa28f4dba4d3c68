//! Telling billing and payments of changed billing details (D1).

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::billing_details::{self, BillingDetails};
use crate::store::{self, Tenant, accounts};

/// Tells the other services of an account's details as they are now, and notes it; safe to repeat.
pub async fn finish(ctx: &Ctx, written: &BillingDetails) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(written.root_id)).await?;
    let details = &billing_details::get(&mut tx, written.root_id)
        .await?
        .ok_or(Error::Stored("billing details"))?;
    let account = accounts::get(&mut tx, details.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    tx.commit().await?;
    ctx.tell_billing_details(details, account.invoiced).await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(details.root_id)).await?;
    billing_details::set_told(&mut tx, details.root_id, details.revision).await?;
    tx.commit().await?;
    Ok(())
}
