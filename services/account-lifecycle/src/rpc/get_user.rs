//! `AccountService.GetUser`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::UserId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::users;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetUserRequest,
) -> Result<pb::GetUserResponse, Error> {
    let id: UserId = wire::id("user_id", &request.user_id)?;
    // A person knows nobody's address but their own.
    if permit::person(caller).is_some_and(|person| person != id.uuid()) {
        return Err(Error::UserNotFound(id));
    }
    let user = users::get(&mut *ctx.db.acquire().await?, id.uuid())
        .await?
        .ok_or(Error::UserNotFound(id))?;
    Ok(pb::GetUserResponse {
        user: Some(convert::user(&user)),
    })
}
