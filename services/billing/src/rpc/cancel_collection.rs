//! `BillingService.CancelCollection`
//!
//! Cancels the offline charge in `payments` and then applies what that reports, as any other news of a charge.

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use proto::payments::v1 as payments;
use tonic_types::StatusExt as _;
use values::{AccountId, ChargeId, CollectionId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::collection::State;
use crate::error::Error;
use crate::ops::collect;
use crate::store::collections;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelCollectionRequest>,
) -> Result<pb::CancelCollectionResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let collection: CollectionId = wire::id("collection_id", &call.message.collection_id)?;
    let mut db = ctx.db.acquire().await?;
    let root = convert::root_account(&mut db, id).await?.root_id;
    let known = collections::get(&mut db, collection.uuid())
        .await?
        .filter(|it| it.root_id == root && it.order_id.is_some())
        .ok_or(Error::CollectionNotFound(collection))?;
    drop(db);
    // A declined collection is already what the caller asks for.
    let charge = match (known.state, known.charge_id) {
        (State::Declined, _) => None,
        (State::AwaitingSettlement, Some(charge)) => {
            let request = payments::CancelChargeRequest {
                account_id: id.to_string(),
                charge_id: ChargeId::from_uuid(charge).to_string(),
                request_id: call.derived_id("cancel").to_string(),
            };
            let cancelled = ctx.cancel_charge(request).await;
            // It was decided in the meantime, or a provider settles it: the watch of movements brings the outcome.
            Some(
                cancelled.map_err(|status| match status.get_details_error_info() {
                    Some(info) if is_decided(&info.reason) => Error::PaymentUnderWay(id),
                    Some(_) | None => Error::Peer(status),
                })?,
            )
        }
        (State::AwaitingSettlement, None)
        | (
            State::Created
            | State::Pending
            | State::Unknown
            | State::Parked
            | State::Succeeded
            | State::Invoiced,
            _,
        ) => return Err(Error::PaymentUnderWay(id)),
    };
    let catalogue = ctx.catalogue(&known.catalogue_version).await?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    if let Some(charge) = charge {
        collect::keep(&mut unit.tx, &catalogue, &charge, call.now).await?;
    }
    let known = collections::get(&mut unit.tx, collection.uuid())
        .await?
        .ok_or(Error::CollectionNotFound(collection))?;
    let shown = convert::collection(&mut unit.tx, &known).await?;
    let response = unit
        .commit(pb::CancelCollectionResponse {
            collection: Some(shown),
        })
        .await?;
    ctx.wake.notify_waiters();
    Ok(response)
}

/// Whether `payments` refuses to cancel a charge for this reason.
fn is_decided(reason: &str) -> bool {
    matches!(reason, "CHARGE_NOT_PENDING" | "CHARGE_NOT_OFFLINE")
}
