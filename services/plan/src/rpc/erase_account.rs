//! `PlanService.EraseAccount`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts;

/// Nothing that plan keeps of an account tells of a person; answers already given may.
pub async fn handle(
    ctx: Ctx,
    call: Call<pb::EraseAccountRequest>,
    mut unit: Unit,
) -> Result<pb::EraseAccountResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let known = accounts::get(&mut unit.tx, id)
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    if known.closed_at.is_none() {
        return Err(Error::AccountNotClosed(id));
    }
    chassis::forget_all_answers(&ctx).await?;
    if known.root == id {
        chassis::forget_audit_key::<Ctx>(&mut unit.tx, id.uuid()).await?;
    }
    let lines = |lines: &[&str]| lines.iter().map(|it| (*it).to_owned()).collect();
    Ok(unit
        .commit(pb::EraseAccountResponse {
            erased: lines(&["answers to requests", "the key of the audit's hashes"]),
            kept: lines(&[
                "timelines of plans and contracts, by account id: what invoices were computed from",
                "the plans stamped on tickets, by ticket id",
            ]),
        })
        .await?)
}
