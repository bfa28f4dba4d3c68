//! `AccountService.CreateUser`

use chassis::{Call, FieldError, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::users::{self, User};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateUserRequest>,
    mut unit: Unit,
) -> Result<pb::CreateUserResponse, Error> {
    let email = mailbox(&ctx, "email", &call.message.email)?;
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
    unit.about_user(user.user_id);
    Ok(unit
        .commit(pb::CreateUserResponse {
            user: Some(convert::user(&user)),
        })
        .await?)
}

/// An email address of a person. Addresses in the mail-to-SMS gateway's domain are refused: they would send messages to
/// a number whose holder did not ask for them.
pub fn mailbox<'a>(ctx: &Ctx, field: &str, text: &'a str) -> Result<&'a str, FieldError> {
    let email = wire::text(field, text, 254)?;
    let of_gateway = |address: &lettre::Address| {
        let domain = address.domain().trim_end_matches('.');
        domain.eq_ignore_ascii_case(&ctx.sms_mail_domain)
    };
    match email.parse::<lettre::Address>() {
        Ok(address) if !of_gateway(&address) => Ok(email),
        Ok(_) | Err(_) => Err(field_error(field, "an address such as ann@example.com")),
    }
}
