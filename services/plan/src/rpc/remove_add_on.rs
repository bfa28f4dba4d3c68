//! `PlanService.RemoveAddOn`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, add_ons};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RemoveAddOnRequest>,
    mut unit: Unit,
) -> Result<pb::RemoveAddOnResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let code = wire::code("add_on_code", &call.message.add_on_code)?;
    if accounts::lock(&mut unit.tx, &[id]).await?.is_empty() {
        return Err(Error::AccountNotFound(id));
    }
    let now = ctx.clock.now_on(&mut unit.tx).await?;
    let ended = add_ons::end(&mut unit.tx, (id.uuid(), Some(code)), now).await?;
    let ended = ended
        .first()
        .ok_or_else(|| Error::AddOnNotFound(code.to_owned()))?;
    Ok(unit
        .commit(pb::RemoveAddOnResponse {
            add_on: Some(convert::add_on(ended)?),
        })
        .await?)
}
