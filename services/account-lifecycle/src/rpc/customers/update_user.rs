//! `CustomerService.UpdateUser`
//!
//! A new name is stored at once. A new address is mailed a code, and takes effect once the code comes back.

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::UserId;

use crate::ctx::Ctx;
use crate::domain::email_change::EmailChange;
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::ops::permit::{self, Sight};
use crate::rpc::convert;
use crate::rpc::create_user::mailbox;
use crate::store::users::{self, User};
use crate::store::{self, Tenant, email_changes};

/// How long ago a person who changes their address may have proved who they are, in minutes: whoever has it gets all
/// mail.
const PROOF_MINUTES: i64 = 15;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::UpdateUserRequest>,
    mut unit: Unit,
) -> Result<pb::UpdateUserResponse, Error> {
    let asked = &call.message;
    let id: UserId = wire::id("user_id", &asked.user_id)?;
    let display_name = match asked.display_name.as_str() {
        "" => None,
        text => Some(wire::text("display_name", text, 100)?),
    };
    let email = match asked.email.as_str() {
        "" => None,
        text => Some(mailbox(&ctx, "email", text)?),
    };
    if display_name.is_none() && email.is_none() {
        return Err(field_error("display_name", "a new name, or a new email").into());
    }
    // A person is known to nobody but themselves.
    match permit::sight(&call.caller)? {
        Sight::Own(person) if person != id => return Err(Error::UserNotFound(id)),
        Sight::Own(_) | Sight::All => {}
    }
    store::enter(&mut unit.tx, Tenant::All).await?;
    users::lock(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::UserNotFound(id))?;
    let known = users::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::UserNotFound(id))?;
    let email = email.filter(|it| *it != known.email);
    if email.is_some() && !call.caller.is_proved_within(PROOF_MINUTES) {
        return Err(Error::UserReauthRequired(id));
    }
    let user = User {
        display_name: display_name.map_or_else(|| known.display_name.clone(), str::to_owned),
        ..known.clone()
    };
    if user != known {
        users::update(&mut unit.tx, &user).await?;
    }
    let change = match email {
        Some(email) => Some(changes(&call, &mut unit, (id, email)).await?),
        None => None,
    };
    unit.about_user(user.user_id);
    let expires = change
        .as_ref()
        .map(|it| wire::timestamp(it.code_expires_at));
    Ok(unit
        .commit(pb::UpdateUserResponse {
            user: Some(convert::user(&user)),
            unconfirmed_email: change.map(|it| it.email).unwrap_or_default(),
            code_expire_time: expires,
        })
        .await?)
}

/// Begins a change of address, in place of the one before: mails a code to the new address, which the user gives back to
/// `ConfirmEmail`.
async fn changes(
    call: &Call<pb::UpdateUserRequest>,
    unit: &mut Unit,
    (id, email): (UserId, &str),
) -> Result<EmailChange, Error> {
    let known = users::with_email(&mut unit.tx, email).await?;
    if known.is_some_and(|it| it.user_id != id.uuid()) {
        return Err(Error::UserExists);
    }
    let code = Uuid::new_v4().simple().to_string();
    let last = email_changes::get(&mut unit.tx, id.uuid()).await?;
    let change = EmailChange::asked(last.as_ref(), (id.uuid(), email), &code, call.now)?;
    email_changes::set(&mut unit.tx, &change).await?;
    let news = News {
        kind: Kind::EmailConfirm,
        event: format!("address of {id} {}", call.derived_id("new address")),
        facts: Vec::new(),
        invoice: None,
    };
    notify::login(&mut unit.tx, (email, &news, &code), call.now).await?;
    Ok(change)
}
