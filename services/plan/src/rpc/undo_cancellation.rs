//! `PlanService.UndoCancellation`
//!
//! Reopens a timeline that a cancellation ends.

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::get_current_plan::current;
use crate::ctx::Ctx;
use crate::domain::timeline;
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::UndoCancellationRequest>,
    mut unit: Unit,
) -> Result<pb::UndoCancellationResponse, Error> {
    let account = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[account]).await?;
    let current = current(&ctx, &mut unit.tx, account, family, now).await?;
    let timeline = segments::list(&mut unit.tx, current.root, family).await?;
    let ends = current.segment.end_at.is_some() && timeline::pending(&timeline, now).is_none();
    if current.root != account || !ends {
        return Err(Error::NotCancelled(account));
    }
    segments::reopen(&mut unit.tx, (account, family), &current.segment).await?;
    Ok(unit.commit(pb::UndoCancellationResponse {}).await?)
}
