//! `CustomerService.ListEntitlements`

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
    asked: pb::ListEntitlementsRequest,
) -> Result<pb::ListEntitlementsResponse, Error> {
    let account_id = member(ctx, caller, &asked.account_id).await?;
    let request = plan::ListEntitlementsRequest { account_id };
    let found = ask!(ctx.plan, list_entitlements, request)?;
    Ok(pb::ListEntitlementsResponse {
        entitlements: found.entitlements,
    })
}
