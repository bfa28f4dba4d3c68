//! `AccountService.GetOrder`

use chassis::{Caller, wire};
use proto::account::v1 as pb;

use super::confirm_order::{Intent, find};
use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetOrderRequest,
) -> Result<pb::GetOrderResponse, Error> {
    let id = wire::id("order_id", &request.order_id)?;
    let order = find(ctx, caller, id, Intent::See).await?;
    Ok(pb::GetOrderResponse {
        order: Some(convert::order(&order)),
    })
}
