//! `PaymentsService.CancelCharge`
//!
//! Declines an offline charge that nobody waits for any more. No provider knows of it, so there is nobody to ask.

use chassis::{Call, Unit, wire};
use proto::payments::v1 as pb;
use values::{AccountId, ChargeId};

use super::convert;
use super::settle_charge::offline;
use crate::ctx::Ctx;
use crate::domain::movement::{Change, RefusalReason, State};
use crate::error::Error;
use crate::ops::ask;
use crate::store::movements;

/// Failure reason of a charge that was cancelled here; a provider that tells of a cancelled payment says something else.
const WITHDRAWN: &str = RefusalReason::Withdrawn.as_str();

pub async fn handle(
    _: Ctx,
    call: Call<pb::CancelChargeRequest>,
    mut unit: Unit,
) -> Result<pb::CancelChargeResponse, Error> {
    let account: AccountId = wire::id("account_id", &call.message.account_id)?;
    let id: ChargeId = wire::id("charge_id", &call.message.charge_id)?;
    let charge = offline(&mut unit.tx, (account, id)).await?;
    let is_cancelled = charge.state == State::Declined && charge.failure_reason == WITHDRAWN;
    if !is_cancelled {
        if charge.state != State::Pending {
            return Err(Error::ChargeNotPending(id));
        }
        let change = Change::refused(State::Declined, WITHDRAWN, true);
        ask::set(&mut unit.tx, &charge, &change, call.now).await?;
    }
    let charge = movements::get(&mut unit.tx, charge.root_id, id.uuid())
        .await?
        .ok_or(Error::Stored("charge"))?;
    Ok(unit
        .commit(pb::CancelChargeResponse {
            charge: Some(convert::charge(&charge)?),
        })
        .await?)
}
