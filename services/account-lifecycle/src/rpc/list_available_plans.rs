//! `AccountService.ListAvailablePlans`

use chassis::{Caller, wire};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListAvailablePlansRequest,
) -> Result<pb::ListAvailablePlansResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    permit::allowed(ctx, caller, id, Action::See).await?;
    let found = ctx.available_plans(id, family).await?;
    let plans = found
        .plans
        .into_iter()
        .filter_map(|it| Some(convert::offer(it.plan?, it.current)));
    Ok(pb::ListAvailablePlansResponse {
        plans: plans.collect(),
    })
}
