//! `PaymentsService.RetryParkedWork`

use chassis::{Call, Unit, retry_parked_work, wire};
use proto::payments::v1 as pb;

use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    _: Ctx,
    call: Call<pb::RetryParkedWorkRequest>,
    mut unit: Unit,
) -> Result<pb::RetryParkedWorkResponse, Error> {
    let job = wire::code("job_name", &call.message.job_name)?;
    let id = wire::text("work_id", &call.message.work_id, 300)?;
    let parked_work = retry_parked_work::<Ctx>(&mut unit.tx, job, id)
        .await?
        .ok_or_else(|| Error::ParkedWorkNotFound(id.to_owned()))?;
    Ok(unit
        .commit(pb::RetryParkedWorkResponse {
            parked_work: Some(parked_work),
        })
        .await?)
}
