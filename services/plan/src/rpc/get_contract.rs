//! `PlanService.GetContract`

use chassis::wire;
use proto::plan::v1 as pb;

use super::create_contract::shown;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::contracts;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetContractRequest,
) -> Result<pb::GetContractResponse, Error> {
    let id = wire::id("contract_id", &request.contract_id)?;
    let mut db = ctx.db.acquire().await?;
    let contract = contracts::get(&mut db, id)
        .await?
        .ok_or(Error::ContractNotFound(id))?;
    Ok(pb::GetContractResponse {
        contract: Some(shown(&mut db, &contract).await?),
    })
}
