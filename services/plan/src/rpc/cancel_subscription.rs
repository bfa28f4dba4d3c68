//! `PlanService.CancelSubscription`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::get_current_plan::current;
use crate::ctx::Ctx;
use crate::domain::catalogue::Cancel;
use crate::error::Error;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelSubscriptionRequest>,
    mut unit: Unit,
) -> Result<pb::CancelSubscriptionResponse, Error> {
    let account = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let current = current(&ctx, &mut unit.tx, account, family, call.now).await?;
    match current
        .catalogue
        .families
        .get(family)
        .map(|family| family.cancel)
    {
        Some(Cancel::SelectFreePlan) | None => Err(Error::SelectFreePlan(family.to_owned())),
        Some(Cancel::AtPeriodEnd) => Err(Error::NotYet("CancelSubscription")),
    }
}
