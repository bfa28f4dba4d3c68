//! `AccountService.DeleteUser`
//!
//! Deletes a login with its roles and the stored responses about it. Refused while the user owns an open account.

use chassis::{Call, OperatorRole, Unit, wire};
use proto::account::v1 as pb;
use values::UserId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{self, Tenant, accounts, email_changes, members, notifications, users};

pub async fn handle(
    _: Ctx,
    call: Call<pb::DeleteUserRequest>,
    mut unit: Unit,
) -> Result<pb::DeleteUserResponse, Error> {
    let id: UserId = wire::id("user_id", &call.message.user_id)?;
    if !call.caller.is_operator_with(&[OperatorRole::SupportAgent]) {
        return Err(Error::UserByOperator);
    }
    store::enter(&mut unit.tx, Tenant::All).await?;
    // Serializes with the creation of accounts for this user, which takes a lock on the same row.
    users::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::UserNotFound(id))?;
    if accounts::any_open_of(&mut unit.tx, id.uuid()).await? {
        return Err(Error::UserOwnsAccount(id));
    }
    members::revoke_all(&mut unit.tx, id.uuid()).await?;
    users::delete(&mut unit.tx, id.uuid()).await?;
    email_changes::delete(&mut unit.tx, id.uuid()).await?;
    notifications::forget_addresses(&mut unit.tx, id).await?;
    chassis::forget_answers_about::<Ctx>(&mut unit.tx, id.uuid()).await?;
    Ok(unit.commit(pb::DeleteUserResponse {}).await?)
}
