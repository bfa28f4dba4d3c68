//! `PlanService.ApplyChange`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::convert;
use super::preview_change::{decide, read};
use crate::ctx::Ctx;
use crate::domain::timeline::{self, Segment};
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ApplyChangeRequest>,
    mut unit: Unit,
) -> Result<pb::ApplyChangeResponse, Error> {
    let request = &call.message;
    let asked = read(
        &request.account_id,
        &request.family_code,
        &request.plan_code,
        &request.billing_cycle_code,
        request.actor,
    )?;
    let order = wire::optional_id("order_id", &request.order_id)?;
    // What was quoted holds as long as nothing has changed; the lock keeps it so until the commit.
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[asked.account]).await?;
    let decided = decide(&ctx, &mut unit.tx, &asked, now).await?;
    let unchanged = timeline::etag(&decided.timeline) == request.timeline_etag;
    if !unchanged || decided.catalogue.version != request.catalogue_version {
        return Err(Error::Requote);
    }

    let family = decided.family()?;
    let cycle = asked
        .cycle
        .map(str::to_owned)
        .or_else(|| decided.current.segment.cycle.clone().map(|(code, _)| code));
    let anchor = match &decided.current.segment.cycle {
        // A change of plan keeps the day that cycles count from; a change of cycle counts anew.
        Some((code, anchor)) if Some(code) == cycle.as_ref() => *anchor,
        _ => family.zone.day(decided.effective_at),
    };
    let shortest = || {
        family
            .cycles
            .iter()
            .min_by_key(|(_, cycle)| cycle.months)
            .map(|(code, _)| code.clone())
    };
    let next = Segment {
        start_at: decided.effective_at,
        end_at: None,
        plan_code: decided.plan()?.code.clone(),
        catalogue_version: decided.catalogue.version.clone(),
        payer: asked.account,
        contract: None,
        cycle: cycle.or_else(shortest).map(|code| (code, anchor)),
        order,
    };
    let edit = timeline::changed(&decided.timeline, next, now)?;
    segments::edit(&mut unit.tx, asked.account, asked.family, &edit).await?;
    let segment = convert::segment(asked.account, asked.family, &edit.insert);
    Ok(unit
        .commit(pb::ApplyChangeResponse {
            segment: Some(segment),
        })
        .await?)
}
