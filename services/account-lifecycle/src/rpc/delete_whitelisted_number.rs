//! `AccountService.DeleteWhitelistedNumber`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;

use super::send_whitelist_code::account_of;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::whitelisted_numbers;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::DeleteWhitelistedNumberRequest>,
) -> Result<pb::DeleteWhitelistedNumberResponse, Error> {
    let request = &call.message;
    let id = wire::id("whitelisted_number_id", &request.whitelisted_number_id)?;
    let account = account_of(&ctx, &call.caller, id).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    whitelisted_numbers::remove(&mut unit.tx, id.uuid(), call.now).await?;
    Ok(unit.commit(pb::DeleteWhitelistedNumberResponse {}).await?)
}
