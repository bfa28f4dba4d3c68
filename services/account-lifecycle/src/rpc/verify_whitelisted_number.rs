//! `AccountService.VerifyWhitelistedNumber`

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;

use super::convert;
use super::send_whitelist_code::account_of;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::whitelisted_numbers;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::VerifyWhitelistedNumberRequest>,
) -> Result<pb::VerifyWhitelistedNumberResponse, Error> {
    let request = &call.message;
    let id = wire::id("whitelisted_number_id", &request.whitelisted_number_id)?;
    if request.code.len() != 6 || !request.code.bytes().all(|b| b.is_ascii_digit()) {
        return Err(field_error("code", "6 digits").into());
    }
    let account = account_of(&ctx, &call.caller, id).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let known = whitelisted_numbers::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::WhitelistedNumberNotFound(id))?;
    let (listed, told) = known.given(&request.code, call.now);
    if listed != known {
        whitelisted_numbers::set(&mut unit.tx, &listed).await?;
    }
    if let Err(refused) = told {
        // The wrong attempt is committed although the call is refused.
        unit.commit_step().await?;
        return Err(refused.into());
    }
    Ok(unit
        .commit(pb::VerifyWhitelistedNumberResponse {
            whitelisted_number: Some(convert::whitelisted_number(&listed)),
        })
        .await?)
}
