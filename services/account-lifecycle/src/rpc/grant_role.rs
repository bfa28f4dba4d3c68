//! `AccountService.GrantRole`

use chassis::{Call, wire};
use proto::account::v1 as pb;
use values::UserId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::members::{self, Member};
use crate::store::users;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::GrantRoleRequest>,
) -> Result<pb::GrantRoleResponse, Error> {
    let request = &call.message;
    let id = wire::id("account_id", &request.account_id)?;
    let user: UserId = wire::id("user_id", &request.user_id)?;
    let role = wire::code("role_code", &request.role_code)?;
    let account = permit::acting(&ctx, &call, id, Action::Manage).await?;
    let profile = ctx.profile_of(&account).await?;
    if !profile.roles.iter().any(|known| known == role) {
        return Err(Error::RoleNotFound(role.to_owned()));
    }
    let mut unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    users::hold(&mut unit.tx, user.uuid())
        .await?
        .ok_or(Error::UserNotFound(user))?;
    let member = Member {
        root_id: account.root_id,
        account_id: account.account_id,
        user_id: user.uuid(),
        role_code: role.to_owned(),
        granted_at: call.now,
    };
    let member = members::grant(&mut unit.tx, &member).await?;
    Ok(unit
        .commit(pb::GrantRoleResponse {
            member: Some(convert::member(&member)),
        })
        .await?)
}
