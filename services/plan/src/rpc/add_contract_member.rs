//! `PlanService.AddContractMember`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::create_contract::{join, shown};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::contracts;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AddContractMemberRequest>,
    mut unit: Unit,
) -> Result<pb::AddContractMemberResponse, Error> {
    let id = wire::id("contract_id", &call.message.contract_id)?;
    let account = wire::id("account_id", &call.message.account_id)?;
    let contract = contracts::lock(&mut unit.tx, id)
        .await?
        .ok_or(Error::ContractNotFound(id))?;
    join(&ctx, &mut unit.tx, &contract, &[account]).await?;
    let shown = shown(&mut unit.tx, &contract).await?;
    Ok(unit
        .commit(pb::AddContractMemberResponse {
            contract: Some(shown),
        })
        .await?)
}
