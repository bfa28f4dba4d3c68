//! `PlanService.EndSubscription`
//!
//! Ends a subscription at once, when billing has given up on its renewal.

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::get_current_plan::standing;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::EndSubscriptionRequest>,
    mut unit: Unit,
) -> Result<pb::EndSubscriptionResponse, Error> {
    let account = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[account]).await?;
    let (root, current) = standing(&ctx, &mut unit.tx, account, family, now).await?;
    if root != account {
        return Err(Error::UseRootAccount { account, root });
    }
    if let Some(current) = current {
        if current.cycle().is_none() {
            return Err(Error::NothingToCancel(account));
        }
        segments::end(&mut unit.tx, (account, family), now).await?;
    }
    Ok(unit.commit(pb::EndSubscriptionResponse {}).await?)
}
