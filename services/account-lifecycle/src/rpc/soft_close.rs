//! `AccountService.CloseAccount` with `KEEP_ACCOUNT_DATA`: the account becomes dormant (C-17).
//!
//! Invariant: nothing that recurs outlives it (REQ-050), and nothing of it ends while it does not: one transaction makes
//! it dormant and releases its numbers, unless an order is under way, and only then plans end by the policy of the
//! profile, and what is paid by the month beside them, whatever its kind. A job ends what is left where this is cut short.

use chassis::{Call, Caller, Unit, crash_point};
use proto::account::v1 as pb;
use values::AccountId;

use super::close_account::shown;
use crate::clients::Profile;
use crate::ctx::Ctx;
use crate::domain::account::{AccountType, Mode};
use crate::domain::closing::CloseOption;
use crate::domain::purchase::NumberKind;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::{permit, soft_close, tell_standing};
use crate::store::accounts::{self, Account};
use crate::store::{closings, orders, resources};

/// Makes the account dormant, all of it or nothing.
pub async fn handle(
    ctx: &Ctx,
    call: &Call<pb::CloseAccountRequest>,
    (account, profile): (&Account, &Profile),
) -> Result<pb::CloseAccountResponse, Error> {
    let id = AccountId::from_uuid(account.account_id);
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    let by_operator = matches!(call.caller, Caller::Operator { .. });
    // One that is dormant already has nothing that could stand in the way.
    if account.dormant_at.is_none() {
        let (_, blockers) = soft_close::steps(ctx, (id, profile), by_operator).await?;
        if !blockers.is_empty() {
            return Err(Error::SoftCloseBlocked(blockers));
        }
    }
    dormant(ctx, call, (account, profile), by_operator).await?;
    crash_point("soft_close.dormant");
    soft_close::finish(ctx, account.root_id).await?;
    let mut unit: Unit = permit::step(ctx, call, account).await?;
    let shown = shown(&mut unit, account.account_id, call.now).await?;
    let answer = unit
        .commit(pb::CloseAccountResponse {
            account: Some(shown),
        })
        .await?;
    tell_standing::soon(ctx, account.root_id).await;
    Ok(answer)
}

/// Makes the account dormant in one transaction, unless it is, with its numbers released; from then on no order begins,
/// and none may be under way. What it has going on is noted as still to be ended.
async fn dormant(
    ctx: &Ctx,
    call: &Call<pb::CloseAccountRequest>,
    (account, profile): (&Account, &Profile),
    by_operator: bool,
) -> Result<(), Error> {
    let id = AccountId::from_uuid(account.account_id);
    let mut unit: Unit = permit::step(ctx, call, account).await?;
    accounts::lock(&mut unit.tx, account.root_id).await?;
    let closing = closings::get(&mut unit.tx, account.root_id).await?;
    let before = accounts::get(&mut unit.tx, account.account_id)
        .await?
        .filter(|it| it.closed_at.is_none() && closing.is_none())
        .ok_or(Error::AccountClosed(id))?;
    if before.dormant_at.is_none() {
        if orders::any_under_way(&mut unit.tx, account.root_id).await? {
            return Err(Error::OrderUnderWay(id));
        }
        let kinds = profile.soft_close.as_ref();
        let kinds = kinds.map(|it| it.release_kind_codes.clone());
        let mut kinds = kinds.unwrap_or_default();
        // A number that was kept from the trial is rented like any other (REQ-170), and goes with them.
        let numbers = kinds.iter().any(|it| it == NumberKind::Production.as_str());
        if before.r#type != AccountType::Trial && numbers {
            kinds.push(NumberKind::Trial.as_str().to_owned());
        }
        resources::release_all(&mut unit.tx, (account.root_id, &kinds), call.now).await?;
        let actor = call.caller.to_string();
        let told = Told {
            state: "MODE",
            name: "SOFT_CLOSED",
            change: (before.mode(call.now).as_str(), Mode::Dormant.as_str()),
            actor: &actor,
            reason: CloseOption::KeepData.as_str(),
            resource: "",
        };
        let of = (account.root_id, account.account_id);
        history::tell(&mut unit.tx, of, &told, call.now).await?;
        accounts::set_dormant(&mut unit.tx, account.root_id, Some(call.now)).await?;
        accounts::set_soft_closing(&mut unit.tx, account.root_id, by_operator).await?;
    }
    unit.commit_step().await?;
    Ok(())
}
