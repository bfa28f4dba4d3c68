//! `AccountService.WithdrawChange`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::WithdrawChangeRequest>,
) -> Result<pb::WithdrawChangeResponse, Error> {
    let id = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    ctx.withdraw_change(id, family, call.derived_id("withdraw"))
        .await?;
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit.commit(pb::WithdrawChangeResponse {}).await?)
}
