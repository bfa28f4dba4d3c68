//! `AccountService.CommitOrder`
//!
//! Marks the order as committing in one transaction and then carries it out (`ops::commit_order`); the job finishes it
//! if this call is cut short.

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::{AccountId, OrderId};

use super::confirm_order::find_to_act;
use super::{convert, upgrade};
use crate::ctx::Ctx;
use crate::domain::kyc::KycState;
use crate::domain::order::{OrderRefused, State};
use crate::error::Error;
use crate::ops::commit_order::{self, Ending};
use crate::store::orders::{self, Order};
use crate::store::{Tenant, accounts};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CommitOrderRequest>,
    mut unit: Unit,
) -> Result<pb::CommitOrderResponse, Error> {
    let id: OrderId = wire::id("order_id", &call.message.order_id)?;
    let (found, account) = find_to_act(&ctx, &mut unit.tx, &call.caller, id).await?;
    let root = found.root_id;
    let gated = upgrade::is_gated(&ctx, &found, &account)?;
    unit.concerns::<Error>(root).await?;
    let of_subaccount = (found.account_id != root).then_some(found.account_id);
    // A subaccount can be barred where its root is not.
    if let Some(subaccount) = of_subaccount {
        unit.concerns::<Error>(subaccount).await?;
    }
    // Lock order is account before order, as in every other transaction; a concurrent closing waits or is seen here.
    let held = accounts::hold_open(&mut unit.tx, root).await?;
    let (closing, kyc) = held.ok_or(Error::Stored("account"))?;
    // Whoever had the lock may have barred one of them.
    unit.still_concerns::<Error>(root).await?;
    if let Some(subaccount) = of_subaccount {
        unit.still_concerns::<Error>(subaccount).await?;
    }
    if closing {
        return Err(Error::AccountClosed(AccountId::from_uuid(root)));
    }
    if gated && kyc != KycState::Approved {
        return Err(Error::KycNotApproved(AccountId::from_uuid(root)));
    }
    let order = orders::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::OrderNotFound(id))?;
    let standing = order.standing().committed(call.now)?;
    let held = orders::set_standing(&mut unit.tx, id.uuid(), standing, call.now).await;
    let order = held.map_err(|error| {
        // One plan at a time is changed, or paid for.
        if chassis::is_violation_of(&error, "orders_one_plan") {
            return Error::OrderUnderWay(AccountId::from_uuid(order.account_id));
        }
        Error::from(error)
    })?;
    unit.commit_step().await?;
    // From here on the order goes forward: a retry, or the job, does what is left.
    let ending = if standing.state == State::Committing {
        commit_order::carry_out(&ctx, &order, call.now).await?
    } else {
        None
    };
    if let Some(refused) = ending.as_ref().filter(|it| it.refused.is_some()) {
        commit_order::end(&ctx, &order, refused, call.now).await?;
    }
    answered(&ctx, &call, (&order, ending.as_ref())).await
}

/// Answers with an order as it stands, and ends it by the same transaction where all of it is done.
async fn answered(
    ctx: &Ctx,
    call: &Call<pb::CommitOrderRequest>,
    (order, ending): (&Order, Option<&Ending>),
) -> Result<pb::CommitOrderResponse, Error> {
    let tenant = Tenant::Root(order.root_id);
    let mut unit: Unit = call
        .step_as::<Error>(&ctx.db, tenant, order.root_id)
        .await?;
    let ended = match ending {
        Some(ending) => commit_order::note_end(&mut unit.tx, order, ending, call.now).await?,
        None => None,
    };
    let stands = match ended {
        Some(ended) => ended,
        // It waits for its payment, or another try has ended it.
        None => orders::get(&mut unit.tx, order.order_id)
            .await?
            .ok_or(Error::OrderNotFound(OrderId::from_uuid(order.order_id)))?,
    };
    if stands.state == State::Expired {
        return Err(OrderRefused::Requote.into());
    }
    let answer = unit
        .commit(pb::CommitOrderResponse {
            order: Some(convert::order(&stands, call.now)),
        })
        .await?;
    if let Some(ending) = ending {
        commit_order::ended(ctx, order, ending).await;
    }
    Ok(answer)
}
