//! `CustomerService.ListPlanHistory`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::plan::v1 as plan;

use super::member;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::ListPlanHistoryRequest,
) -> Result<pb::ListPlanHistoryResponse, Error> {
    let account_id = member(ctx, caller, &asked.account_id).await?;
    let request = plan::ListSegmentsRequest {
        account_id,
        family_code: asked.family_code,
    };
    let found = ask!(ctx.plan, list_segments, request)?;
    let shown = |mut segment: plan::Segment| {
        // Which other account pays for a contract is not the caller's to see.
        if segment.payer_account_id != segment.account_id {
            segment.payer_account_id.clear();
        }
        segment
    };
    Ok(pb::ListPlanHistoryResponse {
        segments: found.segments.into_iter().map(shown).collect(),
    })
}
