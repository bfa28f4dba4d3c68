//! `BillingService.AbortClosing`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{closings, ledger};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AbortClosingRequest>,
) -> Result<pb::AbortClosingResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let account = convert::root_account(&mut unit.tx, id).await?;
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    let known = closings::get(&mut unit.tx, account.root_id).await?;
    if known.is_some_and(|closing| closing.state == "SETTLED") {
        return Err(Error::AccountClosed(id));
    }
    closings::delete(&mut unit.tx, account.root_id).await?;
    Ok(unit.commit(pb::AbortClosingResponse {}).await?)
}
