//! `PlanService.CancelSubscription`
//!
//! Ends the timeline at the end of the present billing cycle. Calling it again returns the same end.

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::get_current_plan::current;
use crate::ctx::Ctx;
use crate::domain::catalogue::Cancel;
use crate::domain::timeline;
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelSubscriptionRequest>,
    mut unit: Unit,
) -> Result<pb::CancelSubscriptionResponse, Error> {
    let account = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[account]).await?;
    let current = current(&ctx, &mut unit.tx, account, family, now).await?;
    if current.root != account {
        return Err(Error::UseRootAccount {
            account,
            root: current.root,
        });
    }
    let policy = current.catalogue.families.get(family);
    let zone = match policy.map(|policy| (policy.cancel, policy.zone)) {
        Some((Cancel::AtPeriodEnd, zone)) => zone,
        Some((Cancel::SelectFreePlan, _)) | None => {
            return Err(Error::SelectFreePlan(family.to_owned()));
        }
    };
    let timeline = segments::list(&mut unit.tx, account, family).await?;
    let pending = timeline::pending(&timeline, now).is_some();
    let end_at = match (current.segment.end_at, current.cycle()) {
        // The subscription is already cancelled.
        (Some(end_at), _) if !pending => end_at,
        (_, Some((cycle, anchor))) => {
            let day = timeline::boundary(cycle, anchor, zone.day(now));
            let end_at = day.map(|day| zone.start_of(day));
            let end_at = end_at.ok_or(Error::NothingToCancel(account))?;
            segments::end(&mut unit.tx, (account, family), end_at).await?;
            end_at
        }
        (_, None) => return Err(Error::NothingToCancel(account)),
    };
    Ok(unit
        .commit(pb::CancelSubscriptionResponse {
            end_time: Some(wire::timestamp(end_at)),
        })
        .await?)
}
