//! `AccountService.CancelSubscription`

use chassis::{Call, wire};
use proto::account::v1 as pb;

use super::create_order::instant;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{limit, permit};
use crate::store::accounts;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelSubscriptionRequest>,
) -> Result<pb::CancelSubscriptionResponse, Error> {
    let id = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let account = permit::allowed(&ctx, &call.caller, id, Action::ChangePlan).await?;
    let cancelled = ctx
        .cancel_subscription(id, family, call.derived_id("cancel"))
        .await?;
    let end_at = instant(cancelled.end_time.as_ref()).ok_or(Error::Stored("end of plan"))?;
    let mut unit = permit::step(&ctx, &call, &account).await?;
    let limit = Some((end_at, limit::CANCELLED));
    accounts::set_limit(&mut unit.tx, account.root_id, limit).await?;
    Ok(unit
        .commit(pb::CancelSubscriptionResponse {
            end_time: cancelled.end_time,
        })
        .await?)
}
