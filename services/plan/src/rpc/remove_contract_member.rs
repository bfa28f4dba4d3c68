//! `PlanService.RemoveContractMember`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::create_contract::{put, shown};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::contracts;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RemoveContractMemberRequest>,
    mut unit: Unit,
) -> Result<pb::RemoveContractMemberResponse, Error> {
    let id = wire::id("contract_id", &call.message.contract_id)?;
    let account = wire::id("account_id", &call.message.account_id)?;
    let contract = contracts::lock(&mut unit.tx, id)
        .await?
        .ok_or(Error::ContractNotFound(id))?;
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[account]).await?;
    let members = contracts::members(&mut unit.tx, id).await?;
    if !members
        .iter()
        .any(|member| member.root_id == account.uuid() && member.left_at.is_none())
    {
        return Err(Error::NotAMember(account));
    }
    if contract.payer_id == account.uuid() {
        return Err(Error::ContractPayer(account));
    }

    contracts::leave(&mut unit.tx, id, account, now).await?;
    let catalogue = ctx.active_catalogue(&mut unit.tx).await?;
    let family = catalogue.families.get(&contract.family_code);
    let family = family.ok_or_else(|| Error::FamilyNotFound(contract.family_code.clone()))?;
    let own = contracts::Contract {
        plan_code: family.default_plan.clone(),
        catalogue_version: catalogue.version.clone(),
        ..contract.clone()
    };
    put(&mut unit.tx, account, &own, None, now).await?;
    let shown = shown(&mut unit.tx, &contract).await?;
    Ok(unit
        .commit(pb::RemoveContractMemberResponse {
            contract: Some(shown),
        })
        .await?)
}
