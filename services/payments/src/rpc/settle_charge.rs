//! `PaymentsService.SettleCharge`
//!
//! An operator records that the payment of an offline charge has arrived, or that it has bounced.

use chassis::{Call, PgConnection, Unit, field_error, wire};
use chrono::{DateTime, Utc};
use proto::payments::v1 as pb;
use values::{AccountId, ChargeId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::movement::{Change, Kind, RefusalReason, State};
use crate::error::Error;
use crate::ops::{ask, payer};
use crate::store::movements::{self, Movement};

pub async fn handle(
    _: Ctx,
    call: Call<pb::SettleChargeRequest>,
    mut unit: Unit,
) -> Result<pb::SettleChargeResponse, Error> {
    use pb::settle_charge_request::Outcome;
    let request = &call.message;
    let account: AccountId = wire::id("account_id", &request.account_id)?;
    let id: ChargeId = wire::id("charge_id", &request.charge_id)?;
    let settled = match Outcome::try_from(request.outcome) {
        Ok(Outcome::Settled) => Some((
            convert::sum("amount", request.amount.as_ref())?,
            wire::text("reference", &request.reference, 128)?,
            past("settle_time", request.settle_time, call.now)?,
        )),
        Ok(Outcome::Bounced) => None,
        Ok(Outcome::Unspecified) | Err(_) => {
            return Err(field_error("outcome", "OUTCOME_SETTLED or OUTCOME_BOUNCED").into());
        }
    };

    let charge = offline(&mut unit.tx, (account, id)).await?;
    if charge.state != State::Pending {
        return Err(Error::ChargeNotPending(id));
    }
    let change = match settled {
        None => Change::refused(State::Declined, RefusalReason::Bounced.as_str(), true),
        Some((money, reference, at)) => {
            let asked = charge.asked().ok_or(Error::Stored("currency"))?;
            if money != asked.money {
                let expected = format!("{} {}", asked.money.currency(), asked.money);
                return Err(Error::AmountDiffers(expected));
            }
            refer(&mut unit.tx, charge.movement_id, reference).await?;
            Change {
                settled: Some((money, at)),
                ..Change::to(State::Succeeded)
            }
        }
    };
    ask::set(&mut unit.tx, &charge, &change, call.now).await?;
    let charge = movements::get(&mut unit.tx, charge.root_id, id.uuid())
        .await?
        .ok_or(Error::Stored("charge"))?;
    Ok(unit
        .commit(pb::SettleChargeResponse {
            charge: Some(convert::charge(&charge)?),
        })
        .await?)
}

/// Locks and returns a charge of an account that is settled offline.
pub async fn offline(
    db: &mut PgConnection,
    (account, id): (AccountId, ChargeId),
) -> Result<Movement, Error> {
    let root = payer::entered(db, account).await?.root_id;
    let charge = movements::lock(db, root, id.uuid())
        .await?
        .filter(|it| it.kind == Kind::Charge)
        .ok_or(Error::ChargeNotFound(id))?;
    if charge.provider_code.is_empty() {
        Ok(charge)
    } else {
        Err(Error::ChargeNotOffline(id))
    }
}

/// Parses a time that is not in the future.
pub fn past(
    field: &str,
    sent: Option<prost_types::Timestamp>,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let at = wire::instant(field, sent)?;
    if now < at {
        return Err(field_error(field, "a time that is not in the future").into());
    }
    Ok(at)
}

/// Stores the reference of a settlement, which is unique.
pub async fn refer(db: &mut PgConnection, id: uuid::Uuid, reference: &str) -> Result<(), Error> {
    movements::set_reference(db, id, reference)
        .await
        .map_err(|error| {
            if chassis::is_violation_of(&error, "movements_one_reference") {
                Error::ReferenceUsed(reference.to_owned())
            } else {
                error.into()
            }
        })
}
