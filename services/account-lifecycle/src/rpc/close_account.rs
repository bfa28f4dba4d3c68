//! `AccountService.CloseAccount`
//!
//! The closing is stored first and then carried out as a saga (`ops::close`); the job finishes it if this call is cut
//! short. With the option `KEEP_ACCOUNT_DATA` the account becomes dormant instead (`soft_close`).

use std::time::Duration;

use chassis::{Call, Caller, FieldError, OperatorRole, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use super::{convert, soft_close};
use crate::clients::Profile;
use crate::ctx::Ctx;
use crate::domain::account::AccountType;
use crate::domain::closing::{self, Asked, CloseOption, Policy, State};
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{close, permit};
use crate::store::accounts::{self, Account};
use crate::store::closings::{self, Closing};
use crate::store::{Tenant, orders};

/// How often, and at which interval, the RPC checks whether another worker has finished the closing.
const LOOKS: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CloseAccountRequest>,
) -> Result<pb::CloseAccountResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let option = option(request.option)?;
    if 20 < request.acknowledgement_codes.len() {
        return Err(field_error("acknowledgement_codes", "at most 20").into());
    }
    let action = if option == Some(CloseOption::KeepData) {
        Action::SoftClose
    } else {
        Action::Close
    };
    let account = permit::acting(&ctx, &call, id, action).await?;
    // A subaccount is closed by its root account's owner (REQ-072).
    let root = AccountId::from_uuid(account.root_id);
    if root != id && !matches!(call.caller, Caller::Operator { .. }) {
        permit::acting(&ctx, &call, root, action).await?;
    }
    if account.closed_at.is_some() {
        return answered(&ctx, &call, &account).await;
    }
    let profile = ctx.profile_of(&account).await?;
    let policy = profile.close.as_ref().ok_or(Error::ContactSupport(id))?;
    if !call
        .caller
        .is_proved_within(i64::from(policy.reauth_max_age_minutes))
    {
        return Err(Error::ReauthRequired(id));
    }
    let way = way(&call, &account, option, policy)?;
    if way == CloseOption::KeepData {
        return soft_close::handle(&ctx, &call, (&account, &profile)).await;
    }
    if ctx.pays_for(id).await?.is_some() {
        return Err(Error::ContractPayer(id));
    }
    begun(&ctx, &call, &account, (option, policy)).await?;
    // Another worker may hold the lease; the RPC waits for its outcome.
    for _ in 0..LOOKS {
        close::next(&ctx, Some(account.account_id)).await?;
        if ended(&ctx, &account).await? {
            return answered(&ctx, &call, &account).await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::Twin(chassis::Twin))
}

/// Whether the closing of the account is done.
async fn ended(ctx: &Ctx, account: &Account) -> Result<bool, Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let closing = closings::get(&mut tx, account.account_id).await?;
    tx.commit().await?;
    match closing {
        Some(closing) => Ok(closing.state == State::Done),
        // The other attempt was refused, so this one would be too; a retry by the caller returns the reason.
        None => Err(Error::Twin(chassis::Twin)),
    }
}

/// The close option that applies, or why the closing is refused.
fn way(
    call: &Call<pb::CloseAccountRequest>,
    account: &Account,
    option: Option<CloseOption>,
    policy: &proto::plan::v1::ClosePolicy,
) -> Result<CloseOption, Error> {
    // Only sales may close an account that pays by invoice (REQ-040).
    let by_operator = if account.invoiced {
        call.caller.is_operator_with(&[OperatorRole::Sales])
    } else {
        matches!(call.caller, Caller::Operator { .. })
    };
    let asked = Asked {
        by_operator,
        trial: account.r#type == AccountType::Trial,
        invoiced: account.invoiced,
        suspensions: &account.suspensions,
        option,
        acknowledged: &call.message.acknowledgement_codes,
    };
    let options = options(policy)?;
    let policy = Policy {
        invoiced_by_operator: policy.invoiced_by_operator,
        blocked: &policy.blocked_suspension_reason_codes,
        options: &options,
        acknowledgements: &policy.trial_acknowledgement_codes,
    };
    Ok(closing::way(&asked, &policy)?)
}

/// Stores the closing; a retry or a concurrent attempt finds the first one. From then on no order can begin; none may
/// be in progress.
async fn begun(
    ctx: &Ctx,
    call: &Call<pb::CloseAccountRequest>,
    account: &Account,
    (option, policy): (Option<CloseOption>, &proto::plan::v1::ClosePolicy),
) -> Result<(), Error> {
    let id = account.account_id;
    let purge_at = closing::purge_at(call.now, policy.data_purge_days);
    let mut unit: Unit = permit::step(ctx, call, account).await?;
    accounts::lock(&mut unit.tx, account.root_id).await?;
    // Read again under the lock, since the account may have been suspended in the meantime.
    let account = &accounts::get(&mut unit.tx, id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let way = way(call, account, option, policy)?;
    let asked = Closing {
        root_id: account.root_id,
        account_id: id,
        state: State::Preparing,
        option: way,
        close_at: call.now,
        purge_at,
        actor: call.caller.to_string(),
        currency: account.currency.clone(),
        settlement_minor: 0,
        refund_minor: 0,
        forfeited_micros: 0,
        due_on: None,
        refund_ids: Vec::new(),
        erased_at: None,
        wait_reason: String::new(),
    };
    let known = closings::get(&mut unit.tx, id).await?;
    if known.is_none() && asked.is_of_root() && orders::any_under_way(&mut unit.tx, id).await? {
        return Err(Error::OrderUnderWay(AccountId::from_uuid(id)));
    }
    closings::insert(&mut unit.tx, &asked).await?;
    unit.commit_step().await?;
    Ok(())
}

/// The response: the account with its closing.
async fn answered(
    ctx: &Ctx,
    call: &Call<pb::CloseAccountRequest>,
    account: &Account,
) -> Result<pb::CloseAccountResponse, Error> {
    let mut unit: Unit = permit::step(ctx, call, account).await?;
    let shown = shown(&mut unit, account.account_id, call.now).await?;
    Ok(unit
        .commit(pb::CloseAccountResponse {
            account: Some(shown),
        })
        .await?)
}

/// An account with its own closing or its root's.
pub async fn shown(
    unit: &mut Unit,
    id: Uuid,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<pb::Account, Error> {
    let account = accounts::get(&mut unit.tx, id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let closing = match closings::get(&mut unit.tx, id).await? {
        Some(own) => Some(own),
        None => closings::get(&mut unit.tx, account.root_id).await?,
    };
    convert::closed(&account, closing.as_ref(), now)
}

/// The close option sent; `None` where none is.
fn option(sent: i32) -> Result<Option<CloseOption>, FieldError> {
    use pb::closing::Option as Sent;
    match Sent::try_from(sent) {
        Ok(Sent::Unspecified) => Ok(None),
        Ok(Sent::Close) => Ok(Some(CloseOption::Close)),
        Ok(Sent::DeleteAllDataAndSettings) => Ok(Some(CloseOption::DeleteAll)),
        Ok(Sent::KeepAccountData) => Ok(Some(CloseOption::KeepData)),
        Err(_) => Err(field_error("option", "a close option")),
    }
}

/// The close options of a full account.
pub fn options(policy: &proto::plan::v1::ClosePolicy) -> Result<Vec<CloseOption>, Error> {
    let codes = policy.full_option_codes.iter();
    let options = codes.map(|code| code.parse::<CloseOption>());
    let options: Result<Vec<_>, _> = options.collect();
    options.map_err(|_| Error::Stored("close option of the catalogue"))
}

/// The profile's rules for closing; `ContactSupport` if only operators close accounts.
pub fn policy(profile: &Profile, id: AccountId) -> Result<&proto::plan::v1::ClosePolicy, Error> {
    profile.close.as_ref().ok_or(Error::ContactSupport(id))
}
