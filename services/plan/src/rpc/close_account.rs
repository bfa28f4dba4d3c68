//! `PlanService.CloseAccount`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;
use values::ContractId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, add_ons, contracts, segments};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CloseAccountRequest>,
    mut unit: Unit,
) -> Result<pb::CloseAccountResponse, Error> {
    let account = wire::id("account_id", &call.message.account_id)?;
    let at = wire::instant("close_time", call.message.close_time)?;
    let (locked, _) = ctx.hold_timelines(&mut unit.tx, &[account]).await?;
    let (_, known) = locked.first().ok_or(Error::AccountNotFound(account))?;
    if known.closed_at.is_some() {
        return Ok(unit.commit(pb::CloseAccountResponse {}).await?);
    }
    if known.root == account {
        for contract in contracts::joined(&mut unit.tx, account).await? {
            if contract.payer_id == account.uuid() {
                return Err(Error::ContractPayer(account));
            }
            let id = ContractId::from_uuid(contract.contract_id);
            contracts::leave(&mut unit.tx, id, account, at).await?;
        }
        for family in segments::families(&mut unit.tx, account).await? {
            // Whatever began since then goes: from the instant of closing nothing is in force.
            segments::end(&mut unit.tx, (account, &family), at).await?;
        }
    }
    if known.root == account {
        add_ons::end(&mut unit.tx, (account.uuid(), None), at).await?;
    }
    accounts::close(&mut unit.tx, account, at).await?;
    Ok(unit.commit(pb::CloseAccountResponse {}).await?)
}
