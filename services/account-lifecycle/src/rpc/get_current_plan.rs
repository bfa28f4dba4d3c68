//! `AccountService.GetCurrentPlan`

use chassis::{Caller, wire};
use proto::account::v1 as pb;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetCurrentPlanRequest,
) -> Result<pb::GetCurrentPlanResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    permit::allowed(ctx, caller, id, Action::See).await?;
    let found = ctx.current_plan(id, family).await?;
    let (plan, segment) = (
        found.plan.unwrap_or_default(),
        found.segment.unwrap_or_default(),
    );
    let governed_by = if segment.contract_id.is_empty() {
        String::new()
    } else {
        format!("CONTRACT:{}", segment.contract_id)
    };
    Ok(pb::GetCurrentPlanResponse {
        current_plan: Some(pb::CurrentPlan {
            plan_code: plan.plan_code,
            display_name: plan.display_name,
            start_time: segment.start_time,
            governed_by,
            next_billing_date: found.next_billing_date,
            state: pb::current_plan::State::Active.into(),
            billing_cycle_code: segment.billing_cycle_code,
            end_time: segment.end_time,
        }),
    })
}
