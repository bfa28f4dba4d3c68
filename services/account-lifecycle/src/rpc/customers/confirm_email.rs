//! `CustomerService.ConfirmEmail`
//!
//! Puts a new address of a user into force by the code that was mailed to it.

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use values::UserId;

use crate::ctx::Ctx;
use crate::domain::notice::Kind;
use crate::domain::whitelist::CodeRefused;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::ops::permit::{self, Sight};
use crate::rpc::convert;
use crate::store::users::{self, User};
use crate::store::{self, Tenant, accounts, email_changes};

/// Among how many accounts of a user, newest first, an open one is looked for: times in the notice of the change are
/// written in its zone.
const ACCOUNTS: i64 = 50;
/// Length of a code.
const CODE_DIGITS: usize = 32;

pub async fn handle(
    _: Ctx,
    call: Call<pb::ConfirmEmailRequest>,
    mut unit: Unit,
) -> Result<pb::ConfirmEmailResponse, Error> {
    let asked = &call.message;
    let id: UserId = wire::id("user_id", &asked.user_id)?;
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if asked.code.len() != CODE_DIGITS || !asked.code.bytes().all(hex) {
        return Err(field_error("code", "32 lower-case hex digits").into());
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
    let change = email_changes::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(CodeRefused::Expired)?;
    let (next, told) = change.given(&asked.code, call.now);
    if next != change {
        email_changes::set(&mut unit.tx, &next).await?;
    }
    if let Err(refused) = told {
        // The wrong attempt is committed although the call is refused.
        unit.commit_step().await?;
        return Err(refused.into());
    }
    let user = User {
        email: next.email,
        ..known.clone()
    };
    let kept = users::update(&mut unit.tx, &user).await;
    kept.map_err(|error| {
        if chassis::is_violation_of(&error, "users_one_email") {
            Error::UserExists
        } else {
            Error::from(error)
        }
    })?;
    tell_former(&call, &mut unit, (id, &known.email)).await?;
    unit.about_user(user.user_id);
    Ok(unit
        .commit(pb::ConfirmEmailResponse {
            user: Some(convert::user(&user)),
        })
        .await?)
}

/// Tells the former address that it is no longer used: whoever has taken a login over can't hide the change.
async fn tell_former(
    call: &Call<pb::ConfirmEmailRequest>,
    unit: &mut Unit,
    (id, former): (UserId, &str),
) -> Result<(), Error> {
    let of_user = accounts::Filter {
        member: Some(id.uuid()),
        ..accounts::Filter::default()
    };
    let held = accounts::list(&mut unit.tx, of_user, None, ACCOUNTS).await?;
    let account = held.iter().find(|it| it.closed_at.is_none());
    let news = News {
        kind: Kind::EmailChanged,
        event: format!("address of {id} {}", call.derived_id("former address")),
        facts: vec![("change_time", call.now.to_rfc3339())],
        invoice: None,
    };
    let mail = (former, &news, "");
    match account {
        Some(account) => notify::to(&mut unit.tx, account, mail, call.now).await,
        None => notify::login(&mut unit.tx, mail, call.now).await,
    }
}
