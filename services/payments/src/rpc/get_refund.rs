//! `PaymentsService.GetRefund`

use chassis::wire;
use proto::payments::v1 as pb;
use values::RefundId;

use super::convert;
use super::get_charge::find;
use crate::ctx::Ctx;
use crate::domain::movement::Kind;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetRefundRequest,
) -> Result<pb::GetRefundResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let id: RefundId = wire::id("refund_id", &request.refund_id)?;
    let refund = find(ctx, account, Kind::Refund, id.uuid()).await?;
    let refund = refund.ok_or(Error::RefundNotFound(id))?;
    let today = ctx.clock.now().await?.date_naive();
    Ok(pb::GetRefundResponse {
        refund: Some(convert::refund(&refund, today)?),
    })
}
