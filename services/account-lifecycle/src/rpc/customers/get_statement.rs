//! `CustomerService.GetStatement`

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
    asked: pb::GetStatementRequest,
) -> Result<pb::GetStatementResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::GetStatementRequest {
        account_id,
        month: asked.month,
    };
    let found = ask!(ctx.billing, get_statement, request)?;
    Ok(pb::GetStatementResponse {
        opening_balance: found.opening_balance,
        closing_balance: found.closing_balance,
        entries: found.entries,
    })
}
