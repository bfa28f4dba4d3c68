//! `AccountService.RevokeRole`

use chassis::{Call, wire};
use proto::account::v1 as pb;
use values::UserId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{accounts, members};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RevokeRoleRequest>,
) -> Result<pb::RevokeRoleResponse, Error> {
    let request = &call.message;
    let id = wire::id("account_id", &request.account_id)?;
    let user: UserId = wire::id("user_id", &request.user_id)?;
    let role = wire::code("role_code", &request.role_code)?;
    let account = permit::acting(&ctx, &call, id, Action::Manage).await?;
    let profile = ctx.profile_of(&account).await?;
    let mut unit = permit::step(&ctx, &call, &account).await?;
    // Serializes the removal of owners, so that the last one stays.
    accounts::lock(&mut unit.tx, account.account_id).await?;
    if !members::revoke(&mut unit.tx, account.account_id, user.uuid(), role).await? {
        return Err(Error::MemberNotFound(user));
    }
    let is_owner = profile.roles.first().is_some_and(|owner| owner == role);
    if is_owner
        && account.parent_id.is_none()
        && members::count(&mut unit.tx, account.account_id, role).await? == 0
    {
        return Err(Error::LastOwner(id));
    }
    Ok(unit.commit(pb::RevokeRoleResponse {}).await?)
}
