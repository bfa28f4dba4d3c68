//! `AccountService.Authorize`
//!
//! Decides whether an account has a capability, now or at a past instant; see `ops::authorize`.

use chassis::{Caller, FieldError, field_error, wire};
use proto::account::v1 as pb;
use proto::account::v1::authorize_request::Capability as Wire;
use proto::account::v1::authorize_response::Decision;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::capability::Capability;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::authorize::{Asked, answer};
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::AuthorizeRequest,
) -> Result<pb::AuthorizeResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let capability = capability(request.capability)?;
    let target = if capability.has_target() {
        Some(number("target_number", &request.target_number)?)
    } else if request.target_number.is_empty() {
        None
    } else {
        return Err(field_error("target_number", "no value for this capability").into());
    };
    let at = wire::optional_instant("effective_time", request.effective_time)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let now = ctx.clock.now().await?;
    if at.is_some_and(|at| now < at) {
        return Err(field_error("effective_time", "a time that is not in the future").into());
    }
    if at.is_some_and(|at| at < account.created_at) {
        return Err(Error::AccountNotFound(id));
    }
    let asked = Asked {
        capability,
        target: target
            .as_ref()
            .map(|(number, country)| (number.as_str(), country.as_deref())),
        at: at.filter(|at| *at < now),
    };
    let denial = answer(ctx, &account, &asked, now).await?.denial;
    let decision = if denial.is_none() {
        Decision::Allow
    } else {
        Decision::Deny
    };
    Ok(pb::AuthorizeResponse {
        decision: decision.into(),
        reason: denial.map_or("", |it| it.name()).to_owned(),
        effective_time: Some(wire::timestamp(at.unwrap_or(now))),
    })
}

/// Parses a phone number in E.164. Also returns its country, if the numbering plan determines it.
pub fn number(field: &str, text: &str) -> Result<(String, Option<String>), FieldError> {
    let bad = || field_error(field, "a number in E.164, such as +6598765432");
    let digits = text.strip_prefix('+').ok_or_else(bad)?;
    if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let parsed = phonenumber::parse(None, text).map_err(|_| bad())?;
    let country = parsed.country().id().map(|it| it.as_ref().to_owned());
    Ok((text.to_owned(), country))
}

fn capability(sent: i32) -> Result<Capability, FieldError> {
    Ok(match Wire::try_from(sent) {
        Ok(Wire::Api) => Capability::Api,
        Ok(Wire::VoiceIn) => Capability::VoiceIn,
        Ok(Wire::VoiceOut) => Capability::VoiceOut,
        Ok(Wire::SmsIn) => Capability::SmsIn,
        Ok(Wire::SmsOut) => Capability::SmsOut,
        Ok(Wire::Verify) => Capability::Verify,
        Ok(Wire::Authy) => Capability::Authy,
        Ok(Wire::Campaign) => Capability::Campaign,
        Ok(Wire::Whatsapp) => Capability::Whatsapp,
        Ok(Wire::ContactCenter) => Capability::ContactCenter,
        Ok(Wire::BuyTrialNumber) => Capability::BuyTrialNumber,
        Ok(Wire::BuyProductionNumber) => Capability::BuyProductionNumber,
        Ok(Wire::GoLive) => Capability::GoLive,
        Ok(Wire::Login) => Capability::Login,
        Ok(Wire::Data) => Capability::Data,
        Ok(Wire::Billing) => Capability::Billing,
        Ok(Wire::Upgrade) => Capability::Upgrade,
        Ok(Wire::Unspecified) | Err(_) => {
            return Err(field_error("capability", "one of CAPABILITY_…"));
        }
    })
}
