//! `BillingService.CancelBillingRun`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::RunId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::run::{Event, Needed, after};
use crate::error::Error;
use crate::store::{numbers, parked, runs, shards};

pub async fn handle(
    _: Ctx,
    call: Call<pb::CancelBillingRunRequest>,
    mut unit: Unit,
) -> Result<pb::CancelBillingRunResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &call.message.billing_run_id)?;
    let reason = wire::text("reason", &call.message.reason, 200)?;
    let run = runs::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    if after(run.state, Event::Cancelled).is_none() {
        return Err(Error::RunNotInState {
            run: id,
            state: Needed::UnderWay,
        });
    }
    // From here on no chunk is written and no number reserved, so unused numbers stay unused.
    shards::take_away(&mut unit.tx, run.run_id).await?;
    runs::cancel(&mut unit.tx, run.run_id, reason, call.now).await?;
    numbers::void_unused(&mut unit.tx, (run.run_id, reason), call.now).await?;
    parked::release_all(&mut unit.tx, run.run_id, call.now).await?;
    let run = runs::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let shown = convert::run(&mut unit.tx, &run).await?;
    Ok(unit
        .commit(pb::CancelBillingRunResponse {
            billing_run: Some(shown),
        })
        .await?)
}
