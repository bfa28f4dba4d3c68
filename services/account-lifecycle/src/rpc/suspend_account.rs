//! `AccountService.SuspendAccount`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;

use super::close_account::shown;
use crate::ctx::Ctx;
use crate::domain::account::Suspension;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{permit, suspend, tell_standing};
use crate::store::accounts::Account;
use chassis::{Caller, FieldError, OperatorRole, field_error};
use values::AccountId;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SuspendAccountRequest>,
) -> Result<pb::SuspendAccountResponse, Error> {
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
    let what = (reason, true);
    let of = account.account_id;
    if !suspend::set(&mut unit.tx, of, what, said, call.now).await? {
        return Err(Error::AccountSuspended(id));
    }
    let shown = shown(&mut unit, account.account_id, call.now).await?;
    let answer = unit
        .commit(pb::SuspendAccountResponse {
            account: Some(shown),
        })
        .await?;
    tell_standing::soon(&ctx, account.root_id).await;
    Ok(answer)
}

/// The account, if the caller may suspend it for this reason: operators for fraud or terms, the root account's owner a
/// single subaccount.
pub async fn may(
    ctx: &Ctx,
    caller: &Caller,
    id: AccountId,
    reason: Suspension,
) -> Result<Account, Error> {
    let account = permit::allowed(ctx, caller, id, Action::Manage).await?;
    let may_bar = caller.is_operator_with(&[OperatorRole::SupportAgent, OperatorRole::Risk]);
    if reason == Suspension::Parent && account.parent_id.is_none() {
        return Err(field_error("suspension_reason", "FRAUD or TERMS for a root account").into());
    }
    if !may_bar && reason != Suspension::Parent {
        return Err(Error::OperatorsOnly("suspension_reason"));
    }
    // A subaccount's own owner may not undo what the root account's owner did.
    let root = AccountId::from_uuid(account.root_id);
    permit::allowed(ctx, caller, root, Action::Manage).await?;
    Ok(account)
}

/// The suspension reason sent. `BALANCE` is refused, as only billing sets it.
pub fn reason(sent: i32) -> Result<Suspension, FieldError> {
    use pb::account::SuspensionReason as Reason;
    match Reason::try_from(sent) {
        Ok(Reason::Parent) => Ok(Suspension::Parent),
        Ok(Reason::Fraud) => Ok(Suspension::Fraud),
        Ok(Reason::Terms) => Ok(Suspension::Terms),
        Ok(Reason::Unspecified | Reason::Balance) | Err(_) => {
            Err(field_error("suspension_reason", "PARENT, FRAUD or TERMS"))
        }
    }
}
