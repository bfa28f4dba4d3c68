//! `CustomerService.UpdateUser`

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use values::UserId;

use crate::ctx::Ctx;
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::ops::permit::{self, Sight};
use crate::rpc::convert;
use crate::rpc::create_user::mailbox;
use crate::store::users::{self, User};
use crate::store::{self, Tenant, accounts};

/// Among how many accounts of a user, newest first, an open one is looked for: a notification is kept with an account.
const ACCOUNTS: i64 = 50;

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
    let moves = email.is_some_and(|it| it != known.email);
    let former = moves.then(|| known.email.clone());
    if moves && !call.caller.is_proved_within(PROOF_MINUTES) {
        return Err(Error::UserReauthRequired(id));
    }
    let user = User {
        display_name: display_name.map_or(known.display_name, str::to_owned),
        email: email.map_or(known.email, str::to_owned),
        ..known
    };
    let kept = users::update(&mut unit.tx, &user).await;
    kept.map_err(|error| {
        if chassis::is_violation_of(&error, "users_one_email") {
            Error::UserExists
        } else {
            Error::from(error)
        }
    })?;
    if let Some(former) = former {
        told(&call, &mut unit, (id, &former)).await?;
    }
    unit.about_user(user.user_id);
    Ok(unit
        .commit(pb::UpdateUserResponse {
            user: Some(convert::user(&user)),
        })
        .await?)
}

/// Tells the former address that it is no longer used: whoever has taken a login over can't hide the change. A user
/// without a role in an open account is told nothing, as no account would keep the notification.
async fn told(
    call: &Call<pb::UpdateUserRequest>,
    unit: &mut Unit,
    (id, former): (UserId, &str),
) -> Result<(), Error> {
    let of_user = accounts::Filter {
        member: Some(id.uuid()),
        ..accounts::Filter::default()
    };
    let held = accounts::list(&mut unit.tx, of_user, None, ACCOUNTS).await?;
    let Some(account) = held.iter().find(|it| it.closed_at.is_none()) else {
        return Ok(());
    };
    let news = News {
        kind: Kind::EmailChanged,
        event: format!("address of {id} {}", call.derived_id("former address")),
        facts: vec![("change_time", call.now.to_rfc3339())],
        invoice: None,
    };
    notify::to(&mut unit.tx, account, (former, &news, ""), call.now).await
}
