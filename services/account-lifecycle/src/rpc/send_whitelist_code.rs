//! `AccountService.SendWhitelistCode`

use chassis::{Call, Caller, Unit, wire};
use proto::account::v1 as pb;
use values::{AccountId, WhitelistedId};

use super::convert;
use super::create_whitelisted_number::{code, told};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::accounts::Account;
use crate::store::{Tenant, whitelisted_numbers};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SendWhitelistCodeRequest>,
) -> Result<pb::SendWhitelistCodeResponse, Error> {
    let request = &call.message;
    let id = wire::id("whitelisted_number_id", &request.whitelisted_number_id)?;
    let account = account_of(&ctx, &call.caller, id).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let known = whitelisted_numbers::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::WhitelistedNumberNotFound(id))?;
    let code = code();
    let listed = known.sent(&code, call.now)?;
    whitelisted_numbers::set(&mut unit.tx, &listed).await?;
    told(&ctx, &mut unit, (&account, &listed, &code), call.now).await?;
    Ok(unit
        .commit(pb::SendWhitelistCodeResponse {
            whitelisted_number: Some(convert::whitelisted_number(&listed)),
        })
        .await?)
}

/// The account of a whitelist entry, if `caller` may use it.
pub async fn account_of(ctx: &Ctx, caller: &Caller, id: WhitelistedId) -> Result<Account, Error> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let known = whitelisted_numbers::get(&mut tx, id.uuid()).await?;
    let of = known.as_ref().map(|it| (it.account_id, it.root_id));
    let may = permit::knows(&mut tx, caller, of).await?;
    tx.commit().await?;
    let known = known.filter(|_| may);
    let known = known.ok_or(Error::WhitelistedNumberNotFound(id))?;
    let account = AccountId::from_uuid(known.account_id);
    match permit::allowed(ctx, caller, account, Action::Use).await {
        Err(Error::AccountNotFound(_)) => Err(Error::WhitelistedNumberNotFound(id)),
        other => other,
    }
}
