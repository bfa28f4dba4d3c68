//! `BillingService.ResumeBillingRun`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::RunId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::run::{Event, Needed, after};
use crate::error::Error;
use crate::store::runs;

pub async fn handle(
    _: Ctx,
    call: Call<pb::ResumeBillingRunRequest>,
    mut unit: Unit,
) -> Result<pb::ResumeBillingRunResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &call.message.billing_run_id)?;
    let run = runs::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let state = after(run.state, Event::Resumed).ok_or(Error::RunNotInState {
        run: id,
        state: Needed::Halted,
    })?;
    runs::set_state(&mut unit.tx, run.run_id, state, None).await?;
    let run = runs::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let shown = convert::run(&mut unit.tx, &run).await?;
    Ok(unit
        .commit(pb::ResumeBillingRunResponse {
            billing_run: Some(shown),
        })
        .await?)
}
