//! `AccountService.ConfirmOrder`, and the lookup of an order for a caller.

use chassis::{Call, Caller, PgConnection, Unit, wire};
use proto::account::v1 as pb;
use values::OrderId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::order::OrderKind;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::accounts::Account;
use crate::store::orders::{self, Order};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ConfirmOrderRequest>,
    mut unit: Unit,
) -> Result<pb::ConfirmOrderResponse, Error> {
    let id: OrderId = wire::id("order_id", &call.message.order_id)?;
    let (found, _) = find_to_act(&ctx, &mut unit.tx, &call.caller, id).await?;
    unit.concerns::<Error>(found.root_id).await?;
    // A subaccount can be barred where its root is not.
    if found.account_id != found.root_id {
        unit.concerns::<Error>(found.account_id).await?;
    }
    let order = orders::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    let confirmed = order.standing().confirmed(call.now)?;
    let order = orders::set_standing(&mut unit.tx, id.uuid(), confirmed, call.now).await?;
    Ok(unit
        .commit(pb::ConfirmOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}

/// The order `id`, if `caller` may see it. To whoever may not know of the account, the order does not exist either.
pub async fn find(ctx: &Ctx, caller: &Caller, id: OrderId) -> Result<Order, Error> {
    let mut db = ctx.db.acquire().await?;
    let found = orders::seen(&mut db, id.uuid(), permit::person(caller)).await?;
    let (order, seen) = found.ok_or(Error::OrderNotFound(id))?;
    permit::judged(caller, seen, Action::See, None).map_err(|error| hidden(error, id))?;
    Ok(order)
}

/// The order `id` and its account, if `caller` may confirm or commit it, as its kind asks; the transaction `db` enters
/// its tenant by it. An operator's order was decided with an operator's powers, so that a person may only see it.
pub async fn find_to_act(
    ctx: &Ctx,
    db: &mut PgConnection,
    caller: &Caller,
    id: OrderId,
) -> Result<(Order, Account), Error> {
    let found = orders::seen(db, id.uuid(), permit::person(caller)).await?;
    let (order, seen) = found.ok_or(Error::OrderNotFound(id))?;
    let action = match order.kind() {
        OrderKind::BuyCredits => Action::BuyCredits,
        OrderKind::PlanChange
        | OrderKind::Upgrade
        | OrderKind::BuyNumber
        | OrderKind::AddOn
        | OrderKind::RefundRequest
        | OrderKind::PayRenewal
        | OrderKind::PayInvoice => Action::ChangePlan,
    };
    let profile = if permit::asks_profile(caller, &seen, action) {
        Some(ctx.profile_at_hand(&seen.account)?)
    } else {
        None
    };
    let account = permit::judged(caller, seen, action, profile.as_ref())
        .map_err(|error| hidden(error, id))?;
    if order.by_operator && !matches!(caller, Caller::Operator { .. }) {
        return Err(Error::OrderOfOperator(id));
    }
    Ok((order, account))
}

/// What a caller is told of an order whose account is refused to them.
fn hidden(error: Error, id: OrderId) -> Error {
    if matches!(error, Error::AccountNotFound(_)) {
        return Error::OrderNotFound(id);
    }
    error
}
