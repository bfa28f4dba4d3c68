//! `PlanService.CloseAccount`
//!
//! Ends all timelines, memberships and add-ons of an account at the closing time.

use chassis::{Call, Standing, Unit, wire};
use proto::plan::v1 as pb;
use values::{AccountId, ContractId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, add_ons, contracts, segments};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CloseAccountRequest>,
    mut unit: Unit,
) -> Result<pb::CloseAccountResponse, Error> {
    let account: AccountId = wire::id("account_id", &call.message.account_id)?;
    let at = wire::instant("close_time", call.message.close_time)?;
    chassis::hold_account::<Ctx>(&mut unit.tx, account.uuid()).await?;
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
            // Segments that started since then are removed: from the closing time on, no plan is in force.
            segments::end(&mut unit.tx, (account, &family), at).await?;
        }
    }
    if known.root == account {
        add_ons::end(&mut unit.tx, (account.uuid(), None), at).await?;
    }
    accounts::close(&mut unit.tx, account, at).await?;
    chassis::end_account::<Ctx>(&mut unit.tx, account.uuid(), Standing::Closed).await?;
    Ok(unit.commit(pb::CloseAccountResponse {}).await?)
}
