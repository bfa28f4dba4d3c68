//! `PlanService.RemoveContractMember`
//!
//! Takes an account out of a contract. If the contract governed its plan, it continues on the default plan at its own
//! expense.

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;

use super::create_contract::{put, shown};
use super::get_current_plan::current;
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
        .any(|member| member.root_id == account.uuid() && member.is_in(now))
    {
        return Err(Error::NotAMember(account));
    }
    // Who pays for others goes on paying for them (D16); the last member ends the contract.
    let others = members
        .iter()
        .any(|member| member.root_id != account.uuid() && member.is_in(now));
    if contract.payer_id == account.uuid() && others {
        return Err(Error::ContractPayer(account));
    }

    contracts::leave(&mut unit.tx, id, account, now).await?;
    let current = current(&ctx, &mut unit.tx, account, &contract.family_code, now).await?;
    // A segment that this contract does not govern stays as it is.
    if current.segment.contract != Some(id) {
        let shown = shown(&mut unit.tx, &contract).await?;
        return Ok(unit
            .commit(pb::RemoveContractMemberResponse {
                contract: Some(shown),
            })
            .await?);
    }
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
