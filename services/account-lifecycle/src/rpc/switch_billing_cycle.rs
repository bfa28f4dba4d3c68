//! `AccountService.SwitchBillingCycle`

use chassis::{Call, OperatorRole, Unit, wire};
use proto::account::v1 as pb;
use proto::plan::v1 as plan;

use super::convert;
use crate::clients::actor;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SwitchBillingCycleRequest>,
) -> Result<pb::SwitchBillingCycleResponse, Error> {
    let request = &call.message;
    let id = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let cycle = wire::code("billing_cycle_code", &request.billing_cycle_code)?;
    permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    // Support may switch regardless of the family's rules (REQ-126).
    if !call.caller.is_operator_with(&[OperatorRole::SupportAgent]) {
        // The family's rules decide whether a customer may switch, and whom to contact otherwise (C-23).
        let current = ctx.current_plan(id, family).await?;
        let asked = plan::PreviewChangeRequest {
            account_id: id.to_string(),
            family_code: family.to_owned(),
            plan_code: current.segment.unwrap_or_default().plan_code,
            billing_cycle_code: cycle.to_owned(),
            actor: actor(false).into(),
        };
        ctx.preview_change(asked).await?;
    }
    let request_id = call.derived_id("switch");
    let pending = ctx
        .switch_billing_cycle(id, (family, cycle), request_id)
        .await?;
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit
        .commit(pb::SwitchBillingCycleResponse {
            pending_change: Some(convert::pending_change(pending)),
        })
        .await?)
}
