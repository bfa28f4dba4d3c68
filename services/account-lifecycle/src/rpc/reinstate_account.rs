//! `AccountService.ReinstateAccount`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;

use super::close_account::shown;
use super::suspend_account::{may, reason};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{permit, suspend, tell_standing};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReinstateAccountRequest>,
) -> Result<pb::ReinstateAccountResponse, Error> {
    let request = &call.message;
    let id = wire::id("account_id", &request.account_id)?;
    let reason = reason(request.suspension_reason)?;
    let note = match request.note.as_str() {
        "" => "",
        note => wire::text("note", note, 1_000)?,
    };
    let account = may(&ctx, &call.caller, id, reason).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    let actor = call.caller.to_string();
    let said = (actor.as_str(), note);
    let what = (reason, false);
    let of = account.account_id;
    if !suspend::set(&mut unit.tx, of, what, said, call.now).await? {
        return Err(Error::AccountNotSuspended(id));
    }
    let shown = shown(&mut unit, account.account_id, call.now).await?;
    let answer = unit
        .commit(pb::ReinstateAccountResponse {
            account: Some(shown),
        })
        .await?;
    tell_standing::soon(&ctx, account.root_id).await;
    Ok(answer)
}
