//! Whether an account has a capability at an instant. The account's own status is checked first; `plan` and `billing`
//! are called only if their answer decides (D4).

use chrono::{DateTime, Utc};
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::account::AccountType;
use crate::domain::capability::{Capability, Denial, Policy, Standing};
use crate::domain::kyc::KycState;
use crate::error::Error;
use crate::ops::stood;
use crate::store::accounts::Account;
use crate::store::{Tenant, dlt_registrations, resources, whitelisted_numbers};

/// Kinds of resources that count against the numbers of an account. The number of its trial carries over when it buys a
/// plan (REQ-117), and is then one of those that the plan allows (REQ-082), not one beside them.
pub fn number_kinds() -> Vec<String> {
    ["PHONE_NUMBER", "TRIAL_NUMBER"].map(str::to_owned).to_vec()
}

/// The capability in question.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The capability.
    pub capability: Capability,
    /// The number called or texted, and its country if known.
    pub target: Option<(&'a str, Option<&'a str>)>,
    /// A past instant; `None` for now.
    pub at: Option<DateTime<Utc>>,
}

/// The decision, with the value of the plan feature that was checked; empty if none was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Why the capability is denied; `None` if it is granted.
    pub denial: Option<Denial>,
    /// The feature's value, such as `5` or `UNLIMITED`.
    pub value: String,
}

/// Whether `account` has the capability at an instant that is not in the future.
pub async fn answer(
    ctx: &Ctx,
    account: &Account,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Answer, Error> {
    let then = match asked.at {
        Some(at) => stood::then(ctx, account, at).await?,
        None => account.clone(),
    };
    let mut value = String::new();
    let denial = decided(ctx, &then, (asked, now), &mut value).await?.err();
    Ok(Answer { denial, value })
}

async fn decided(
    ctx: &Ctx,
    it: &Account,
    (asked, now): (&Asked<'_>, DateTime<Utc>),
    value: &mut String,
) -> Result<Result<(), Denial>, Error> {
    let (capability, at) = (asked.capability, asked.at.unwrap_or(now));
    let profile = ctx.profile_of(it).await?;
    let policy = Policy {
        limited_denies: &profile.limited_denies,
        kyc_gates: &profile.kyc_gates,
        suspends_at_zero: profile.suspends_at_zero,
    };
    let trial = it.r#type == AccountType::Trial;
    let standing = Standing {
        closed: it.closed_at.is_some(),
        suspensions: &it.suspensions,
        mode: it.mode(at),
        trial,
        kyc_approved: it.kyc_state == KycState::Approved,
    };
    if let Err(denial) = capability.allowed_by(&standing, &policy) {
        return Ok(Err(denial));
    }
    let id = AccountId::from_uuid(it.account_id);
    // Only profiles with plans paid in advance sell features by plan.
    if let Some(feature) = capability.feature().filter(|_| profile.upgrades) {
        let used = if feature == "phone_numbers" {
            held_numbers(ctx, it, at).await?
        } else {
            0
        };
        let said = ctx.entitlement(id, (feature, used), asked.at).await?;
        *value = said.entitlement.unwrap_or_default().value;
        if !said.allowed {
            let denial = Denial::of_plan(&said.reason);
            return Ok(Err(denial.ok_or(Error::Stored("denial of plan"))?));
        }
    }
    // Trials of other profiles have a fixed number of trial numbers.
    let buys = trial && capability == Capability::BuyTrialNumber && !profile.upgrades;
    if let Some(most) = profile.trial_numbers.filter(|_| buys)
        && most <= held_numbers(ctx, it, at).await?
    {
        return Ok(Err(Denial::TrialLimit));
    }
    if let Some((number, country)) = asked.target {
        let countries = &profile.dlt_countries;
        let registered = country.filter(|_| capability == Capability::SmsOut);
        let registered = registered.filter(|code| countries.iter().any(|it| it == code));
        let mut tx = ctx.db.begin_as(Tenant::Root(it.root_id)).await?;
        let of = (it.root_id, number);
        let barred = trial && !whitelisted_numbers::is_verified_at(&mut tx, of, at).await?;
        let unregistered = match registered {
            Some(code) => !dlt_registrations::any_at(&mut tx, (it.root_id, code), at).await?,
            None => false,
        };
        tx.commit().await?;
        if barred {
            return Ok(Err(Denial::NotWhitelisted));
        }
        if unregistered {
            return Ok(Err(Denial::DltRequired));
        }
    }
    if !it.invoiced && capability.needs_credit(&policy) {
        let balance = ctx.balance(it.root_id, asked.at).await?;
        if balance <= 0 {
            return Ok(Err(Denial::InsufficientCredit));
        }
    }
    Ok(Ok(()))
}

/// Counts the numbers that an account's root and subaccounts held at an instant.
async fn held_numbers(ctx: &Ctx, it: &Account, at: DateTime<Utc>) -> Result<i64, Error> {
    let kinds = number_kinds();
    let mut tx = ctx.db.begin_as(Tenant::Root(it.root_id)).await?;
    let held = resources::count(&mut tx, (it.root_id, &kinds), at).await?;
    tx.commit().await?;
    Ok(held)
}
