//! `PaymentsService.ResolveMovement`
//!
//! An operator states the outcome of a parked movement, or that the money which a refused charge had moved after all
//! was returned.

use chassis::{Call, Unit, field_error, wire};
use chrono::{DateTime, Utc};
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{AccountId, ChargeId, RefundId};

use super::convert;
use super::settle_charge::{past, refer};
use crate::ctx::Ctx;
use crate::domain::movement::{Change, Kind, RefusalReason, State};
use crate::error::Error;
use crate::ops::{ask, payer};
use crate::store::movements;

pub async fn handle(
    _: Ctx,
    call: Call<pb::ResolveMovementRequest>,
    mut unit: Unit,
) -> Result<pb::ResolveMovementResponse, Error> {
    use pb::resolve_movement_request::Outcome;
    let request = &call.message;
    let account: AccountId = wire::id("account_id", &request.account_id)?;
    let (kind, id, missing) = named(&request.movement_id)?;
    wire::text("note", &request.note, 1_000)?;
    let outcome = Outcome::try_from(request.outcome).unwrap_or(Outcome::Unspecified);
    let moved = match outcome {
        Outcome::Moved => Some((
            convert::sum("amount", request.amount.as_ref())?,
            wire::text("provider_movement_id", &request.provider_movement_id, 128)?,
            past("settle_time", request.settle_time, call.now)?,
        )),
        Outcome::Refused | Outcome::Absent => None,
        Outcome::Unspecified => {
            let expected = "OUTCOME_MOVED, OUTCOME_REFUSED or OUTCOME_ABSENT";
            return Err(field_error("outcome", expected).into());
        }
    };

    let root = payer::entered(&mut unit.tx, account).await?.root_id;
    let found = movements::lock(&mut unit.tx, root, id).await?;
    let movement = found.filter(|it| it.kind == kind).ok_or(missing)?;
    let given_back = movement.state.is_refused() && movement.overturned_at.is_some();
    if movement.state != State::Parked && !(given_back && moved.is_none()) {
        return Err(Error::MovementNotParked(request.movement_id.clone()));
    }
    let change = match moved {
        None if given_back => {
            ask::given_back(&mut unit.tx, &movement, call.now).await?;
            return shown(unit, (root, id), call.now).await;
        }
        None if outcome == Outcome::Refused => {
            Change::refused(State::Declined, RefusalReason::Refused.as_str(), true)
        }
        None => Change::not_sent(),
        Some((money, provider_id, at)) => {
            if money.currency().code() != movement.currency {
                return Err(Error::CurrencyDiffers(movement.currency));
            }
            refer(&mut unit.tx, id, provider_id).await?;
            Change {
                provider_id: provider_id.to_owned(),
                settled: Some((money, at)),
                ..Change::to(State::Succeeded)
            }
        }
    };
    ask::set(&mut unit.tx, &movement, &change, call.now)
        .await
        .map_err(|error| id_used(error, &request.provider_movement_id))?;
    tracing::info!(movement.id = %id, state = change.state.as_str(), "a parked movement was resolved by an operator");
    shown(unit, (root, id), call.now).await
}

/// The response with the movement in its present state.
async fn shown(
    mut unit: Unit,
    (root, id): (Uuid, Uuid),
    now: DateTime<Utc>,
) -> Result<pb::ResolveMovementResponse, Error> {
    let movement = movements::get(&mut unit.tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    let shown = match movement.kind {
        Kind::Charge => {
            pb::resolve_movement_response::Movement::Charge(convert::charge(&movement)?)
        }
        Kind::Refund => {
            let today = now.date_naive();
            pb::resolve_movement_response::Movement::Refund(convert::refund(&movement, today)?)
        }
    };
    Ok(unit
        .commit(pb::ResolveMovementResponse {
            movement: Some(shown),
        })
        .await?)
}

/// The kind and id of a movement, and the error if there is none.
fn named(text: &str) -> Result<(Kind, Uuid, Error), Error> {
    if let Ok(id) = text.parse::<ChargeId>() {
        return Ok((Kind::Charge, id.uuid(), Error::ChargeNotFound(id)));
    }
    if let Ok(id) = text.parse::<RefundId>() {
        return Ok((Kind::Refund, id.uuid(), Error::RefundNotFound(id)));
    }
    Err(field_error("movement_id", "CH or RF and 32 lower-case hex digits").into())
}

/// Maps the violation that a provider's id already belongs to another movement.
fn id_used(error: Error, provider_id: &str) -> Error {
    if let Error::Database(cause) = &error
        && chassis::is_violation_of(cause, "movements_one_provider_id")
    {
        return Error::ReferenceUsed(provider_id.to_owned());
    }
    error
}
