//! `AccountService.CancelSubscription`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelSubscriptionRequest>,
) -> Result<pb::CancelSubscriptionResponse, Error> {
    let id = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    permit::allowed(&ctx, &call.caller, id, Action::ChangePlan).await?;
    let cancelled = ctx
        .cancel_subscription(id, family, call.derived_id("cancel"))
        .await?;
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit
        .commit(pb::CancelSubscriptionResponse {
            end_time: cancelled.end_time,
        })
        .await?)
}
