//! `AccountService.GetOrder`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::CollectionId;

use super::confirm_order::find;
use super::convert;
use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::error::Error;
use crate::store::orders::Order;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetOrderRequest,
) -> Result<pb::GetOrderResponse, Error> {
    let id = wire::id("order_id", &request.order_id)?;
    let order = find(ctx, caller, id).await?;
    let now = ctx.clock.now().await?;
    Ok(pb::GetOrderResponse {
        order: Some(pb::Order {
            action_url: action_url(ctx, &order).await,
            ..convert::order(&order, now)
        }),
    })
}

/// The URL where the payment of an order is confirmed. Empty if the order does not wait for that, or `billing` does not
/// answer: the order itself is shown nevertheless.
async fn action_url(ctx: &Ctx, order: &Order) -> String {
    let waits = order.state == State::AwaitingPayment;
    let Some(id) = order.collection_id.filter(|_| waits) else {
        return String::new();
    };
    match ctx.collection(CollectionId::from_uuid(id)).await {
        Ok(collection) => collection.action_url,
        Err(status) => {
            tracing::debug!(%status, "the collection of an order was not read");
            String::new()
        }
    }
}
