//! `CustomerService.ListRefunds`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::payments::v1 as payments;

use super::payer;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::ListRefundsRequest,
) -> Result<pb::ListRefundsResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = payments::ListRefundsRequest {
        account_id,
        page_size: asked.page_size,
        page_token: asked.page_token,
        ..payments::ListRefundsRequest::default()
    };
    let found = ask!(ctx.payments, list_refunds, request)?;
    Ok(pb::ListRefundsResponse {
        refunds: found.refunds,
        next_page_token: found.next_page_token,
    })
}
