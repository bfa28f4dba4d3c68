//! `BillingService.ApproveBillingRun`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::RunId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::run::{Event, Needed, after};
use crate::error::Error;
use crate::store::{closings, runs};

pub async fn handle(
    _: Ctx,
    call: Call<pb::ApproveBillingRunRequest>,
    mut unit: Unit,
) -> Result<pb::ApproveBillingRunResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &call.message.billing_run_id)?;
    // Closings bill months of runs that wait; from here on the run bills them.
    closings::hold_closings(&mut unit.tx).await?;
    let run = runs::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    if after(run.state, Event::Approved).is_none() {
        return Err(Error::RunNotInState {
            run: id,
            state: Needed::Waiting,
        });
    }
    runs::begin_settling(&mut unit.tx, run.run_id).await?;
    let run = runs::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let shown = convert::run(&mut unit.tx, &run).await?;
    Ok(unit
        .commit(pb::ApproveBillingRunResponse {
            billing_run: Some(shown),
        })
        .await?)
}
