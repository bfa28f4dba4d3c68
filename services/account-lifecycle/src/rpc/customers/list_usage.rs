//! `CustomerService.ListUsage`

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
    asked: pb::ListUsageRequest,
) -> Result<pb::ListUsageResponse, Error> {
    let account_id = member(ctx, caller, &asked.account_id).await?;
    let request = billing::ListUsageRequest {
        account_id,
        month: asked.month,
        category: asked.category,
        page_size: asked.page_size,
        page_token: asked.page_token,
    };
    let found = ask!(ctx.billing, list_usage, request)?;
    Ok(pb::ListUsageResponse {
        records: found.records,
        next_page_token: found.next_page_token,
    })
}
