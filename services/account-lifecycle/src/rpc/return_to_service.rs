//! `AccountService.ReturnToService`
//!
//! Ends the dormancy of an account. Plans and numbers that the soft close ended do not come back.

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::close_account::shown;
use crate::ctx::Ctx;
use crate::domain::account::Account;
use crate::domain::account::Mode;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::{permit, soft_close, tell_standing};
use crate::store::accounts;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReturnToServiceRequest>,
) -> Result<pb::ReturnToServiceResponse, Error> {
    let id = wire::id("account_id", &call.message.account_id)?;
    let account = permit::acting(&ctx, &call, id, Action::SoftClose).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    // What its soft close has still to end does not end the plans that are bought from now on.
    soft_close::finish(&ctx, account.root_id).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let before = accounts::get(&mut unit.tx, account.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    if before.dormant_at.is_none() {
        return Err(Error::AccountNotDormant(id));
    }
    let awake = Account {
        dormant_at: None,
        ..before.clone()
    };
    let actor = call.caller.to_string();
    let told = Told {
        state: "MODE",
        name: "RETURNED",
        change: (Mode::Dormant.as_str(), awake.mode(call.now).as_str()),
        actor: &actor,
        reason: "",
        resource: "",
    };
    let of = (account.root_id, account.root_id);
    history::tell(&mut unit.tx, of, &told, call.now).await?;
    accounts::set_dormant(&mut unit.tx, account.root_id, None).await?;
    let shown = shown(&mut unit, account.account_id, call.now).await?;
    let answer = unit
        .commit(pb::ReturnToServiceResponse {
            account: Some(shown),
        })
        .await?;
    tell_standing::soon(&ctx, account.root_id).await;
    Ok(answer)
}
