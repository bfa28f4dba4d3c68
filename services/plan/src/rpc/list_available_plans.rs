//! `PlanService.ListAvailablePlans`

use chassis::wire;
use proto::plan::v1 as pb;
use proto::plan::v1::list_available_plans_response::AvailablePlan;

use super::convert;
use super::get_current_plan::standing;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListAvailablePlansRequest,
) -> Result<pb::ListAvailablePlansResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let (_, current) = standing(ctx, &mut db, account, family, now).await?;
    let catalogue = ctx.active_catalogue(&mut db).await?;
    let policy = catalogue
        .families
        .get(family)
        .ok_or_else(|| Error::FamilyNotFound(family.to_owned()))?;

    // The current plan is listed with the terms that it was bought under, even if it is retired.
    let own = match &current {
        Some(current) => Some(pb::Plan {
            available: true,
            ..convert::plan(&current.catalogue, current.plan()?)
        }),
        None => None,
    };
    let own_code = own.as_ref().map(|plan| plan.plan_code.as_str());
    let others = catalogue
        .plans_of(family)
        .filter(|plan| policy.sells(plan) && Some(plan.code.as_str()) != own_code);
    let mut plans: Vec<_> = others
        .map(|plan| AvailablePlan {
            plan: Some(convert::plan(&catalogue, plan)),
            current: false,
        })
        .collect();
    plans.extend(own.map(|plan| AvailablePlan {
        plan: Some(plan),
        current: true,
    }));
    plans.sort_by_key(|available| available.plan.as_ref().map_or(0, |plan| plan.rank));
    Ok(pb::ListAvailablePlansResponse { plans })
}
