//! `AccountService.CommitOrder`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::{AccountId, OrderId};

use super::confirm_order::{Intent, find};
use super::{convert, upgrade};
use crate::ctx::Ctx;
use crate::domain::order::{OrderRefused, State};
use crate::error::Error;
use crate::ops::commit_order;
use crate::store::{self, Tenant, accounts, closings, orders};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CommitOrderRequest>,
) -> Result<pb::CommitOrderResponse, Error> {
    let id: OrderId = wire::id("order_id", &call.message.order_id)?;
    let found = find(&ctx, &call.caller, id, Intent::Act).await?;
    let (root, gated) = (found.root_id, upgrade::is_gated(&ctx, &found).await?);
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    store::enter(&mut unit.tx, Tenant::Root(root)).await?;
    // The account first, as everywhere: a closing waits, or is seen.
    accounts::lock(&mut unit.tx, root).await?;
    if closings::get(&mut unit.tx, root).await?.is_some() {
        return Err(Error::AccountClosed(AccountId::from_uuid(root)));
    }
    let account = accounts::get(&mut unit.tx, root).await?;
    if gated && account.is_none_or(|it| it.kyc_state != "APPROVED") {
        return Err(Error::KycNotApproved(AccountId::from_uuid(root)));
    }
    let order = orders::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    let standing = order.standing()?.committed(call.now)?;
    let held = orders::set_standing(&mut unit.tx, id.uuid(), standing, call.now).await;
    held.map_err(|error| {
        // One plan at a time is changed, or paid for.
        if chassis::is_violation_of(&error, "orders_one_plan") {
            return Error::OrderUnderWay(AccountId::from_uuid(order.account_id));
        }
        Error::from(error)
    })?;
    unit.commit_step().await?;
    // From here on the order goes forward: a retry, or the job, does what is left.
    if standing.state == State::Committing {
        commit_order::finish(&ctx, &order, call.now).await?;
    }
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    let order = orders::get(&mut tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    tx.commit().await?;
    if order.state == "EXPIRED" {
        return Err(OrderRefused::Requote.into());
    }
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit
        .commit(pb::CommitOrderResponse {
            order: Some(convert::order(&order)),
        })
        .await?)
}
