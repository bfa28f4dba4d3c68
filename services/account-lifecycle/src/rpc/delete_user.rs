//! `AccountService.DeleteUser`

use chassis::{Call, Caller, Unit, wire};
use proto::account::v1 as pb;
use values::UserId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{self, Tenant, accounts, members, users};

pub async fn handle(
    _: Ctx,
    call: Call<pb::DeleteUserRequest>,
    mut unit: Unit,
) -> Result<pb::DeleteUserResponse, Error> {
    let id: UserId = wire::id("user_id", &call.message.user_id)?;
    if matches!(call.caller, Caller::Person { .. }) {
        return Err(Error::UserByOperator);
    }
    store::enter(&mut unit.tx, Tenant::All).await?;
    // Whoever makes an account for the user waits, or is waited for.
    users::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::UserNotFound(id))?;
    if accounts::any_open_of(&mut unit.tx, id.uuid()).await? {
        return Err(Error::UserOwnsAccount(id));
    }
    members::revoke_all(&mut unit.tx, id.uuid()).await?;
    users::delete(&mut unit.tx, id.uuid()).await?;
    Ok(unit.commit(pb::DeleteUserResponse {}).await?)
}
