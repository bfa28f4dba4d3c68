//! `CustomerService.CancelOrder`
//!
//! Stops waiting for the payment first, in `billing`; the order then ends as its collection says. An order without a
//! payment under way is cancelled here.

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::OrderId;

use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::error::Error;
use crate::ops::commit_order;
use crate::rpc::confirm_order::find_to_act;
use crate::rpc::convert;
use crate::store::{Tenant, accounts, orders};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelOrderRequest>,
) -> Result<pb::CancelOrderResponse, Error> {
    let id: OrderId = wire::id("order_id", &call.message.order_id)?;
    let mut db = ctx.db.acquire().await?;
    let (found, _) = find_to_act(&ctx, &mut db, &call.caller, id).await?;
    drop(db);
    let root = found.root_id;
    let waits = found.state == State::AwaitingSettlement;
    if let Some(collection) = found.collection_id.filter(|_| waits) {
        ctx.cancel_collection(root, collection, call.derived_id("cancel"))
            .await?;
        commit_order::finish(&ctx, &found, call.now).await?;
    }
    let mut unit: Unit = call
        .step_as::<Error>(&ctx.db, Tenant::Root(root), root)
        .await?;
    let of_subaccount = (found.account_id != root).then_some(found.account_id);
    if let Some(subaccount) = of_subaccount {
        unit.concerns::<Error>(subaccount).await?;
    }
    // Lock order is account before order, as in every other transaction.
    accounts::lock(&mut unit.tx, root).await?;
    // Whoever had the lock may have closed one of them.
    unit.still_concerns::<Error>(root).await?;
    if let Some(subaccount) = of_subaccount {
        unit.still_concerns::<Error>(subaccount).await?;
    }
    let order = orders::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    let cancelled = order.standing().cancelled(call.now)?;
    let order = orders::set_standing(&mut unit.tx, id.uuid(), cancelled, call.now).await?;
    Ok(unit
        .commit(pb::CancelOrderResponse {
            order: Some(convert::order(&order, call.now)),
        })
        .await?)
}
