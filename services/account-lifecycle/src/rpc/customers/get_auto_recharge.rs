//! `CustomerService.GetAutoRecharge`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use super::payer;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::GetAutoRechargeRequest,
) -> Result<pb::GetAutoRechargeResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::GetAutoRechargeRequest { account_id };
    let found = ask!(ctx.billing, get_auto_recharge, request)?;
    Ok(pb::GetAutoRechargeResponse {
        auto_recharge: found.auto_recharge,
    })
}
