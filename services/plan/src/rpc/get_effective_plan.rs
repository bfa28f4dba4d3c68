//! `PlanService.GetEffectivePlan`

use chassis::wire;
use proto::plan::v1 as pb;

use super::convert;
use super::get_current_plan::{offered, with_terms};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetEffectivePlanRequest,
) -> Result<pb::GetEffectivePlanResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let at = match wire::optional_instant("effective_time", request.effective_time)? {
        Some(at) => at,
        None => ctx.clock.now().await?,
    };
    let mut db = ctx.db.acquire().await?;
    let found = segments::in_force(&mut db, account, family, at).await?;
    let (root, segment) = found.ok_or(Error::AccountNotFound(account))?;
    let Some(segment) = segment else {
        offered(ctx, &mut db, (account, root), family).await?;
        return Err(Error::NoPlanThen(account));
    };
    let shown = if segment.cycle.is_none() {
        convert::plain_segment(root, family, &segment)
    } else {
        convert::segment(&with_terms(ctx, &mut db, root, (family, segment)).await?)?
    };
    Ok(pb::GetEffectivePlanResponse {
        segment: Some(shown),
    })
}
