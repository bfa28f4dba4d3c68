//! `AccountService.CreateUser`

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::users::{self, User};

pub async fn handle(
    _: Ctx,
    call: Call<pb::CreateUserRequest>,
    mut unit: Unit,
) -> Result<pb::CreateUserResponse, Error> {
    let email = wire::text("email", &call.message.email, 254)?;
    if email.parse::<lettre::Address>().is_err() {
        return Err(field_error("email", "an address such as ann@example.com").into());
    }
    let display_name = wire::text("display_name", &call.message.display_name, 100)?;
    let user = User {
        user_id: Uuid::now_v7(),
        email: email.to_owned(),
        display_name: display_name.to_owned(),
        created_at: call.now,
    };
    if !users::insert(&mut unit.tx, &user).await? {
        return Err(Error::UserExists);
    }
    Ok(unit
        .commit(pb::CreateUserResponse {
            user: Some(convert::user(&user)),
        })
        .await?)
}
