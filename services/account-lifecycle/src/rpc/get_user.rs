//! `AccountService.GetUser`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::UserId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit::{self, Sight};
use crate::store::users;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetUserRequest,
) -> Result<pb::GetUserResponse, Error> {
    let id: UserId = wire::id("user_id", &request.user_id)?;
    // A person may read only their own user.
    match permit::sight(caller)? {
        Sight::Own(person) if person != id => return Err(Error::UserNotFound(id)),
        Sight::Own(_) | Sight::All => {}
    }
    let user = users::get(&mut ctx.db.acquire().await?, id.uuid())
        .await?
        .ok_or(Error::UserNotFound(id))?;
    Ok(pb::GetUserResponse {
        user: Some(convert::user(&user)),
    })
}
