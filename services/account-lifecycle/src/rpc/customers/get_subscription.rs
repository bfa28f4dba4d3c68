//! `CustomerService.GetSubscription`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use super::payer;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::GetSubscriptionRequest,
) -> Result<pb::GetSubscriptionResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::GetSubscriptionRequest {
        account_id,
        family_code: asked.family_code,
    };
    let found = ask!(ctx.billing, get_subscription, request)?;
    Ok(pb::GetSubscriptionResponse {
        subscription: found.subscription,
    })
}
