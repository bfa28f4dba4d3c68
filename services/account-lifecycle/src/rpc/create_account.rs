//! `AccountService.CreateAccount`, and the parts shared with `CreateSubaccount`.

use chassis::{Call, Caller, OperatorRole, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::{AccountId, UserId, Zone};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::account::{AccountType, LimitReason, Status};
use crate::domain::kyc::KycState;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::permit::Sight;
use crate::ops::{open_account, permit};
use crate::store::accounts::{self, Account};
use crate::store::members::{self, Member};
use crate::store::{roots, users};

/// Operator roles that may open full accounts without a trial (D5) and import accounts with their ids.
const DEALERS: &[OperatorRole] = &[OperatorRole::Sales, OperatorRole::SupportAgent];
/// Operator roles that may let an account pay by invoice: account managers and billing (REQ-040).
pub const INVOICERS: &[OperatorRole] = &[OperatorRole::Sales, OperatorRole::Billing];

#[expect(
    clippy::too_many_lines,
    reason = "fields and saga steps in the order in which they run"
)]
pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateAccountRequest>,
) -> Result<pb::CreateAccountResponse, Error> {
    let request = &call.message;
    let profile_code = wire::code("profile_code", &request.profile_code)?.to_owned();
    let display_name = wire::text("display_name", &request.display_name, 100)?.to_owned();
    let owner: UserId = match permit::sight(&call.caller)? {
        Sight::Own(person) => person,
        Sight::All => wire::id("owner_user_id", &request.owner_user_id)?,
    };
    let full = match pb::account::Type::try_from(request.r#type) {
        Ok(pb::account::Type::Unspecified | pb::account::Type::Trial) => false,
        Ok(pb::account::Type::Full) => true,
        Err(_) => return Err(field_error("type", "TYPE_TRIAL or TYPE_FULL").into()),
    };
    let invoiced = match pb::account::BillingMode::try_from(request.billing_mode) {
        Ok(pb::account::BillingMode::Unspecified | pb::account::BillingMode::Prepaid) => false,
        Ok(pb::account::BillingMode::Invoiced) => true,
        Err(_) => {
            return Err(field_error(
                "billing_mode",
                "BILLING_MODE_PREPAID or BILLING_MODE_INVOICED",
            )
            .into());
        }
    };
    if full && !call.caller.is_operator_with(DEALERS) {
        return Err(Error::OperatorsOnly("type"));
    }
    if invoiced && !call.caller.is_operator_with(INVOICERS) {
        return Err(Error::OperatorsOnly("billing_mode"));
    }
    let profile = ctx
        .profile(&profile_code)
        .await?
        .ok_or_else(|| Error::ProfileNotFound(profile_code.clone()))?;
    let id =
        imported(&call, &request.import_account_id)?.unwrap_or_else(|| call.derived_id("account"));
    let zone = Zone::parse(&profile.time_zone).map_err(|_| Error::Stored("zone"))?;
    let trial_end_at = profile
        .trial_days
        .filter(|_| !full)
        .map(|days| zone.days_after(call.now, days));
    let account = Account {
        trial_end_at,
        upgraded_at: None,
        limited_at: trial_end_at,
        limit_reason: trial_end_at.map_or(LimitReason::NotLimited, |_| LimitReason::TrialExpired),
        kyc_state: KycState::NotSubmitted,
        dormant_at: None,
        suspensions: Vec::new(),
        closed_at: None,
        live_at: None,
        root_id: id,
        account_id: id,
        parent_id: None,
        profile_code,
        display_name,
        owner_id: owner.uuid(),
        r#type: if full {
            AccountType::Full
        } else {
            AccountType::Trial
        },
        invoiced,
        currency: profile.currency,
        created_at: call.now,
        opened_at: None,
    };
    let mut unit = permit::step(&ctx, &call, &account).await?;
    // Locked, so that two concurrent requests can't both use the last trial.
    users::lock(&mut unit.tx, owner.uuid())
        .await?
        .ok_or(Error::UserNotFound(owner))?;
    match call.caller {
        Caller::Person { .. } if !full => {
            trials_left(&mut unit, &account, profile.max_trial_accounts).await?;
        }
        // Operators may open any number of trials.
        Caller::Person { .. } | Caller::Operator { .. } | Caller::Service { .. } => {}
    }
    let account = insert(&mut unit, &account, &call.caller).await?;
    let owners = profile
        .roles
        .first()
        .cloned()
        .ok_or(Error::Stored("roles of a profile"))?;
    let member = Member {
        root_id: id,
        account_id: id,
        user_id: owner.uuid(),
        role_code: owners,
        granted_at: call.now,
    };
    members::grant(&mut unit.tx, &member).await?;
    unit.commit_step().await?;
    let told = open_account::elsewhere(&ctx, &account, call.now).await?;
    let mut unit = permit::step(&ctx, &call, &account).await?;
    open_account::note(&mut unit.tx, id, told, call.now).await?;
    permit::shown(&account);
    Ok(unit
        .commit(pb::CreateAccountResponse {
            account: Some(convert::account(&account, call.now)),
        })
        .await?)
}

/// Refuses a trial if the person has used up their number of trials. Each trial grants credit, and closing one does not
/// free a place.
async fn trials_left(unit: &mut Unit, account: &Account, limit: i64) -> Result<(), Error> {
    let of = (account.owner_id, account.account_id);
    let opened = accounts::count_trials(&mut unit.tx, of).await?;
    if limit <= opened {
        return Err(Error::TooManyTrials {
            user: UserId::from_uuid(account.owner_id),
            limit,
        });
    }
    Ok(())
}

/// The id of an account imported from another system; `None` for a new account.
pub fn imported<M>(call: &Call<M>, text: &str) -> Result<Option<Uuid>, Error> {
    let id: Option<AccountId> = wire::optional_id("import_account_id", text)?;
    if id.is_some() && !call.caller.is_operator_with(DEALERS) {
        return Err(Error::OperatorsOnly("import_account_id"));
    }
    Ok(id.map(AccountId::uuid))
}

/// Writes an account, unless an earlier try of the same intent has, and gives it as it is stored: a retry may come at a
/// later time, and finds what its first try wrote. Nothing is written where the id is another's.
pub async fn insert(unit: &mut Unit, account: &Account, actor: &Caller) -> Result<Account, Error> {
    let id = AccountId::from_uuid(account.account_id);
    if !roots::insert(&mut unit.tx, id, AccountId::from_uuid(account.root_id)).await?
        && let Some(known) = known(unit, account).await?
    {
        return Ok(known);
    }
    accounts::insert(&mut unit.tx, account).await?;
    let actor = actor.to_string();
    let of = (account.root_id, account.account_id);
    for (state, to) in [
        ("STATUS", Status::Active.as_str()),
        ("TYPE", account.r#type.as_str()),
    ] {
        let told = Told {
            state,
            name: "CREATED",
            change: ("", to),
            actor: &actor,
            reason: "",
            resource: "",
        };
        history::tell(&mut unit.tx, of, &told, account.created_at).await?;
    }
    Ok(account.clone())
}

/// The account whose id is known already, as it is stored: the same one, by an earlier try.
async fn known(unit: &mut Unit, account: &Account) -> Result<Option<Account>, Error> {
    let id = AccountId::from_uuid(account.account_id);
    // An imported id may be an account's of another root, which this tenant does not see.
    if roots::of(&mut unit.tx, id).await? != Some(account.root_id) {
        return Err(Error::AccountExists(id));
    }
    let known = accounts::get(&mut unit.tx, account.account_id).await?;
    if known.as_ref().is_some_and(|it| !account.is_made_as(it)) {
        return Err(Error::AccountExists(id));
    }
    Ok(known)
}
