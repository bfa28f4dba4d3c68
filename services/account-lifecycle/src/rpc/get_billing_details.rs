//! `AccountService.GetBillingDetails`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;
use crate::store::billing_details::{self, BillingDetails};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetBillingDetailsRequest,
) -> Result<pb::GetBillingDetailsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::BuyCredits).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let details = billing_details::get(&mut tx, account.root_id).await?;
    tx.commit().await?;
    Ok(pb::GetBillingDetailsResponse {
        billing_details: Some(shown(&details.unwrap_or_default())),
    })
}

/// Billing details in their wire form.
pub fn shown(from: &BillingDetails) -> pb::BillingDetails {
    pb::BillingDetails {
        recipient_name: from.recipient_name.clone(),
        address: from.address.clone(),
        country_code: from.country_code.clone(),
        state_code: from.state_code.clone(),
        tax_id: from.tax_id.clone(),
        export_supply: from.export_supply,
        email: from.email.clone(),
    }
}
