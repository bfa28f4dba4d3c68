//! `PlanService.SetContractPayer`
//!
//! Makes another member the payer, by a new segment in the timeline of every member.

use chassis::{Call, Unit, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use values::AccountId;

use super::create_contract::{put, shown};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::contracts;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SetContractPayerRequest>,
    mut unit: Unit,
) -> Result<pb::SetContractPayerResponse, Error> {
    let id = wire::id("contract_id", &call.message.contract_id)?;
    let payer: AccountId = wire::id("payer_account_id", &call.message.payer_account_id)?;
    let contract = contracts::lock(&mut unit.tx, id)
        .await?
        .ok_or(Error::ContractNotFound(id))?;
    let present = present(&mut unit, id, call.now).await?;
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &present).await?;
    // An account may have closed before its timeline was locked, so the members are read again.
    let present = self::present(&mut unit, id, now).await?;
    if !present.contains(&payer) {
        return Err(Error::NotAMember(payer));
    }

    let contract = contracts::Contract {
        payer_id: payer.uuid(),
        ..contract
    };
    contracts::set_payer(&mut unit.tx, id, payer).await?;
    for member in present {
        put(&mut unit.tx, member, &contract, Some(id), now).await?;
    }
    let shown = shown(&mut unit.tx, &contract).await?;
    Ok(unit
        .commit(pb::SetContractPayerResponse {
            contract: Some(shown),
        })
        .await?)
}

/// The present members of a contract.
async fn present(
    unit: &mut Unit,
    id: values::ContractId,
    now: DateTime<Utc>,
) -> Result<Vec<AccountId>, Error> {
    let members = contracts::members(&mut unit.tx, id).await?;
    let present = members.iter().filter(|member| member.is_in(now));
    Ok(present
        .map(|member| AccountId::from_uuid(member.root_id))
        .collect())
}
