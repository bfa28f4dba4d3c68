//! `BillingService.GetBillingRun`

use chassis::wire;
use proto::billing::v1 as pb;
use values::RunId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::runs;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetBillingRunRequest,
) -> Result<pb::GetBillingRunResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &request.billing_run_id)?;
    let mut db = ctx.db.acquire().await?;
    let run = runs::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    Ok(pb::GetBillingRunResponse {
        billing_run: Some(convert::run(&mut db, &run).await?),
    })
}
