//! `PlanService.SwitchBillingCycle`
//!
//! Changes the billing cycle at the next renewal.

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::apply_change::put;
use super::convert;
use super::get_current_plan::current;
use super::preview_change::{Asked, decide};
use crate::ctx::Ctx;
use crate::domain::timeline;
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SwitchBillingCycleRequest>,
    mut unit: Unit,
) -> Result<pb::SwitchBillingCycleResponse, Error> {
    let request = &call.message;
    let account = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let cycle = wire::code("billing_cycle_code", &request.billing_cycle_code)?;
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[account]).await?;
    let current = current(&ctx, &mut unit.tx, account, family, now).await?;
    let timeline = segments::list(&mut unit.tx, current.root, family).await?;
    // A pending change of plan is kept: both become one change (C-23).
    let pending = timeline::pending(&timeline, now);
    let plan = pending.map_or(&current.segment.plan_code, |it| &it.plan_code);
    let asked = Asked {
        account,
        family,
        plan,
        cycle: Some(cycle),
        by_operator: true,
        paid: None,
    };
    let decided = decide(&ctx, &mut unit.tx, &asked, now).await?;
    let segment = put(&mut unit.tx, &decided, None, now).await?;
    let shown = convert::pending(Some(&current.segment), &segment);
    Ok(unit
        .commit(pb::SwitchBillingCycleResponse {
            pending_change: Some(shown),
        })
        .await?)
}
