//! `AccountService.ConfirmOrder`, and finding an order for a caller.

use chassis::{Call, Caller, Unit, wire};
use proto::account::v1 as pb;
use values::{AccountId, OrderId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::orders::{self, Order};
use crate::store::{self, Tenant};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ConfirmOrderRequest>,
) -> Result<pb::ConfirmOrderResponse, Error> {
    let id: OrderId = wire::id("order_id", &call.message.order_id)?;
    let root = find(&ctx, &call.caller, id, Intent::Act).await?.root_id;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    store::enter(&mut unit.tx, Tenant::Root(root)).await?;
    let order = orders::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    let confirmed = order.standing()?.confirmed(call.now)?;
    orders::set_standing(&mut unit.tx, id.uuid(), confirmed, call.now).await?;
    let order = orders::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    Ok(unit
        .commit(pb::ConfirmOrderResponse {
            order: Some(convert::order(&order)),
        })
        .await?)
}

/// What an order is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// To see it.
    See,
    /// To confirm or commit it.
    Act,
}

/// The order `id`, if `caller` may see it or act on it, as its kind asks. An operator's order was
/// decided with an operator's powers, so that a person may only see it. To whoever may not know of the
/// account, the order does not exist either.
pub async fn find(ctx: &Ctx, caller: &Caller, id: OrderId, intent: Intent) -> Result<Order, Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let order = orders::get(&mut tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    tx.commit().await?;
    let action = match intent {
        Intent::See => Action::See,
        Intent::Act if order.kind == "BUY_CREDITS" => Action::BuyCredits,
        Intent::Act => Action::ChangePlan,
    };
    match permit::allowed(ctx, caller, AccountId::from_uuid(order.account_id), action).await {
        Ok(_)
            if order.by_operator
                && intent == Intent::Act
                && matches!(caller, Caller::Person { .. }) =>
        {
            Err(Error::OrderOfOperator(id))
        }
        Ok(_) => Ok(order),
        Err(Error::AccountNotFound(_)) => Err(Error::OrderNotFound(id)),
        Err(error) => Err(error),
    }
}
