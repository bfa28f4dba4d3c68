//! `AccountService.GetPayoutDetails`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{permit, seal};
use crate::store::{Tenant, payout_details};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetPayoutDetailsRequest,
) -> Result<pb::GetPayoutDetailsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let kept = payout_details::get(&mut tx, account.root_id).await?;
    tx.commit().await?;
    let kept = kept.ok_or(Error::PayoutDetailsNotFound(id))?;
    let text = seal::opened(account.root_id, &kept.key, &kept.sealed)
        .map_err(|_| Error::Stored("payout details"))?;
    // Access to bank details is logged with the caller.
    tracing::info!(account.id = %id, caller = %caller, "payout details were read");
    let mut parts = text.splitn(3, '\n').map(str::to_owned);
    let mut part = || parts.next().unwrap_or_default();
    Ok(pb::GetPayoutDetailsResponse {
        holder_name: part(),
        account_number: part(),
        bank_code: part(),
        give_time: Some(wire::timestamp(kept.given_at)),
    })
}
