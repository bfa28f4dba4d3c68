//! `BillingService.RecordClosing`

use chassis::{Call, Standing, Unit, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::intake;
use crate::store::{accounts, usage};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RecordClosingRequest>,
) -> Result<pb::RecordClosingResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let close_at = wire::instant("close_time", call.message.close_time)?;
    let account = accounts::get(&mut ctx.db.acquire().await?, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    // After this commit, all usage written by any replica takes the closing into account.
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    // Wait for other work on the account before blocking usage.
    chassis::hold_account::<Ctx>(&mut unit.tx, account.root_id).await?;
    usage::hold_off(&mut unit.tx, account.root_id).await?;
    let of = (account.root_id, account.account_id);
    accounts::close(&mut unit.tx, of, close_at).await?;
    chassis::end_account::<Ctx>(&mut unit.tx, account.account_id, Standing::Closed).await?;
    unit.commit_step().await?;
    // Usage written before is taken out of the bill while other usage continues.
    let unbilled_count = intake::unbill(&ctx, &account, close_at).await?;
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit
        .commit(pb::RecordClosingResponse { unbilled_count })
        .await?)
}
