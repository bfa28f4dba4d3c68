//! `CustomerService.GetRefund`

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
    asked: pb::GetRefundRequest,
) -> Result<pb::GetRefundResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = payments::GetRefundRequest {
        account_id,
        refund_id: asked.refund_id,
    };
    let found = ask!(ctx.payments, get_refund, request)?;
    Ok(pb::GetRefundResponse {
        refund: found.refund,
    })
}
