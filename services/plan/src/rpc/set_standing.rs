//! `PlanService.SetStanding`

use chassis::{Call, ToldStanding, Unit, wire};
use proto::plan::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    _: Ctx,
    call: Call<pb::SetStandingRequest>,
    mut unit: Unit,
) -> Result<pb::SetStandingResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let told = ToldStanding::read(&request.standings, request.limit_time, request.revision)?;
    if !told.keep::<Ctx>(&mut unit.tx, id.uuid()).await? {
        return Err(Error::AccountNotFound(id));
    }
    Ok(unit.commit(pb::SetStandingResponse {}).await?)
}
