//! `CustomerService.GetBalance`

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
    asked: pb::GetBalanceRequest,
) -> Result<pb::GetBalanceResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::GetBalanceRequest {
        account_id,
        read_time: asked.read_time,
    };
    let found = ask!(ctx.billing, get_balance, request)?;
    Ok(pb::GetBalanceResponse {
        balance: found.balance,
        lots: found.lots,
        overdraft: found.overdraft,
    })
}
