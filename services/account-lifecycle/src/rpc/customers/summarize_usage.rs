//! `CustomerService.SummarizeUsage`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use super::member;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::SummarizeUsageRequest,
) -> Result<pb::SummarizeUsageResponse, Error> {
    let account_id = member(ctx, caller, &asked.account_id).await?;
    let request = billing::SummarizeUsageRequest {
        account_id,
        month: asked.month,
        daily: asked.daily,
    };
    let found = ask!(ctx.billing, summarize_usage, request)?;
    Ok(pb::SummarizeUsageResponse {
        sums: found.sums,
        unbilled_sums: found.unbilled_sums,
    })
}
