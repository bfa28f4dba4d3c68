//! `AccountService.CreateWhitelistedNumber`
//!
//! Adds a number to the whitelist and sends it a verification code.

use chassis::{Call, Unit, wire};
use chrono::TimeDelta;
use proto::account::v1 as pb;
use uuid::Uuid;
use values::{AccountId, WhitelistedId};

use super::authorize::number;
use super::convert;
use crate::ctx::Ctx;
use crate::domain::capability::Denial;
use crate::domain::notice::Kind;
use crate::domain::permission::Action;
use crate::domain::whitelist::{self, CODE_LASTS, CodeRefused, Listed};
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::ops::permit;
use crate::store::accounts::Account;
use crate::store::whitelisted_numbers;

/// Numbers that an account may add within 24 hours, removed ones included.
const ADDED_MAX: i64 = 50;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateWhitelistedNumberRequest>,
) -> Result<pb::CreateWhitelistedNumberResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let (number, _) = number("number", &request.number)?;
    let account = permit::acting(&ctx, &call, id, Action::Use).await?;
    if !account.suspensions.is_empty() {
        return Err(Error::Denied(id, Denial::Suspended));
    }
    let most = ctx.profile_of(&account).await?.max_whitelisted;
    let (number_id, code) = (call.derived_id("number"), code());
    let listed = Listed {
        root_id: account.root_id,
        account_id: account.account_id,
        number_id,
        number,
        created_at: call.now,
        code_digest: whitelist::digest(number_id, &code),
        code_expires_at: call.now + CODE_LASTS,
        codes_since: call.now,
        codes_sent: 1,
        codes_wrong: 0,
        verified_at: None,
    };
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    // Counted under the lock, so that two concurrent requests can't both use the last place.
    permit::lock(&mut unit, &account).await?;
    let held = whitelisted_numbers::count(&mut unit.tx, account.root_id).await?;
    if let Some(limit) = most.filter(|most| *most <= held) {
        return Err(Error::WhitelistLimit { account: id, limit });
    }
    let day = call.now - TimeDelta::days(1);
    let added = whitelisted_numbers::added_since(&mut unit.tx, account.root_id, day).await?;
    if ADDED_MAX <= added {
        return Err(CodeRefused::Limit.into());
    }
    let of = (account.root_id, listed.number.as_str());
    let last = whitelisted_numbers::last(&mut unit.tx, of).await?;
    let listed = match last {
        Some(last) => listed.added_again(&last, &code, call.now)?,
        None => listed,
    };
    if !whitelisted_numbers::insert(&mut unit.tx, &listed).await? {
        return Err(Error::WhitelistedNumberExists);
    }
    told(&ctx, &mut unit, (&account, &listed, &code), call.now).await?;
    Ok(unit
        .commit(pb::CreateWhitelistedNumberResponse {
            whitelisted_number: Some(convert::whitelisted_number(&listed)),
        })
        .await?)
}

/// A random code of six digits.
pub fn code() -> String {
    format!("{:06}", Uuid::new_v4().as_u128() % 1_000_000)
}

/// Sends a code to its number through the mail-to-SMS gateway.
pub async fn told(
    ctx: &Ctx,
    unit: &mut Unit,
    (account, listed, code): (&Account, &Listed, &str),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), Error> {
    let id = WhitelistedId::from_uuid(listed.number_id);
    let sent = listed.code_expires_at.timestamp_micros();
    let news = News {
        kind: Kind::WhitelistCode,
        event: format!("whitelist {id} {sent} {}", listed.codes_sent),
        facts: vec![("number", listed.number.clone())],
        invoice: None,
    };
    let email = format!("{}@{}", listed.number, ctx.sms_mail_domain);
    notify::to(&mut unit.tx, account, (&email, &news, code), now).await
}
