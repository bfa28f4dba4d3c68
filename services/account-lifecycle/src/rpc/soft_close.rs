//! `AccountService.CloseAccount` with `KEEP_ACCOUNT_DATA`: the account becomes dormant (C-17).

use chassis::{Call, Caller, Unit};
use proto::account::v1 as pb;
use proto::plan::v1 as plan;
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::AccountId;

use super::close_account::shown;
use crate::clients::{Profile, actor};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::permit;
use crate::store::accounts::{self, Account};
use crate::store::{closings, orders, resources};

/// What a soft close does to one family.
pub enum Step {
    /// Puts the free plan in force.
    Lower(Box<plan::Change>),
    /// Ends a subscription with its period.
    Cancel(String),
}

/// What stands in the way of a soft close: why, and the plan.
pub type Blocker = (String, String);

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
    let (steps, blockers) = steps(ctx, (id, profile), by_operator).await?;
    if !blockers.is_empty() {
        return Err(Error::SoftCloseBlocked(blockers));
    }
    standing(ctx, call, account).await?;
    for step in &steps {
        let family = match step {
            Step::Lower(change) => change.to_plan.as_ref().map_or("", |it| &it.family_code),
            Step::Cancel(family) => family,
        };
        let request_id = Uuid::new_v5(&call.derived_id("soft close"), family.as_bytes());
        match step {
            Step::Lower(change) => ctx.put_plan(id, change, (by_operator, request_id)).await?,
            Step::Cancel(family) => {
                ctx.cancel_subscription(id, family, request_id).await?;
            }
        }
    }
    match ctx.recharge_off(id, call.derived_id("recharge off")).await {
        // Where there is none there is nothing to switch off.
        Err(status) if status.code() != Code::FailedPrecondition => return Err(status.into()),
        Ok(()) | Err(_) => {}
    }
    let mut unit: Unit = permit::step(ctx, call, account).await?;
    accounts::lock(&mut unit.tx, account.root_id).await?;
    let before = accounts::get(&mut unit.tx, account.account_id)
        .await?
        .filter(|it| it.closed_at.is_none())
        .ok_or(Error::AccountClosed(id))?;
    if before.dormant_at.is_none() {
        let kinds = profile.soft_close.as_ref();
        let kinds = kinds
            .map(|it| &it.release_kind_codes[..])
            .unwrap_or_default();
        resources::release_all(&mut unit.tx, (account.root_id, kinds), call.now).await?;
        let actor = call.caller.to_string();
        let told = Told {
            state: "MODE",
            name: "SOFT_CLOSED",
            change: (before.mode(call.now).name(), "DORMANT"),
            actor: &actor,
            reason: "KEEP_ACCOUNT_DATA",
            resource: "",
        };
        let of = (account.root_id, account.account_id);
        history::tell(&mut unit.tx, of, &told, call.now).await?;
        accounts::set_dormant(&mut unit.tx, account.root_id, Some(call.now)).await?;
    }
    let shown = shown(&mut unit, account.account_id, call.now).await?;
    Ok(unit
        .commit(pb::CloseAccountResponse {
            account: Some(shown),
        })
        .await?)
}

/// That no order is being paid and no closing is under way: either would come after it.
async fn standing(
    ctx: &Ctx,
    call: &Call<pb::CloseAccountRequest>,
    account: &Account,
) -> Result<(), Error> {
    let id = AccountId::from_uuid(account.account_id);
    let mut unit: Unit = permit::step(ctx, call, account).await?;
    accounts::lock(&mut unit.tx, account.root_id).await?;
    if closings::get(&mut unit.tx, account.root_id)
        .await?
        .is_some()
    {
        return Err(Error::AccountClosed(id));
    }
    if orders::any_under_way(&mut unit.tx, account.root_id).await? {
        return Err(Error::OrderUnderWay(id));
    }
    unit.commit_step().await?;
    Ok(())
}

/// What a soft close would do, and what stands in its way.
pub async fn steps(
    ctx: &Ctx,
    (id, profile): (AccountId, &Profile),
    by_operator: bool,
) -> Result<(Vec<Step>, Vec<Blocker>), Error> {
    let (mut steps, mut blockers) = (Vec::new(), Vec::new());
    let cancels = |kind: &str| {
        let policy = profile.soft_close.as_ref();
        policy.is_some_and(|policy| policy.cancel_kind_codes.iter().any(|it| it == kind))
    };
    for family in &profile.families {
        let current = match ctx.current_plan(id, family).await {
            Ok(current) => current,
            // Nothing is in force that could be ended.
            Err(status) if status.code() == Code::NotFound => continue,
            Err(status) => return Err(status.into()),
        };
        let (plan, segment) = (
            current.plan.unwrap_or_default(),
            current.segment.unwrap_or_default(),
        );
        let charge = plan.charge.as_ref().map(plan::Charge::model);
        match charge {
            None if cancels("SUBSCRIPTION") && !segment.billing_cycle_code.is_empty() => {
                steps.push(Step::Cancel(family.clone()));
            }
            Some(model) if cancels("SUPPORT_PLAN") && model != plan::charge::Model::Free => {
                match lowered(ctx, id, family, by_operator).await? {
                    Ok(change) => steps.push(Step::Lower(Box::new(change))),
                    Err(reason) => blockers.push((reason, plan.plan_code)),
                }
            }
            None | Some(_) => {}
        }
    }
    Ok((steps, blockers))
}

/// The change to the family's free plan, or why it is refused.
async fn lowered(
    ctx: &Ctx,
    id: AccountId,
    family: &str,
    by_operator: bool,
) -> Result<Result<plan::Change, String>, Error> {
    let offered = ctx.available_plans(id, family).await?;
    let free = offered
        .plans
        .into_iter()
        .filter_map(|it| it.plan)
        .find(|plan| {
            let model = plan.charge.as_ref().map(plan::Charge::model);
            model == Some(plan::charge::Model::Free)
        });
    let request = plan::PreviewChangeRequest {
        account_id: id.to_string(),
        family_code: family.to_owned(),
        plan_code: free.map(|plan| plan.plan_code).unwrap_or_default(),
        billing_cycle_code: String::new(),
        actor: actor(by_operator).into(),
    };
    match ctx.preview_change(request).await {
        Ok(change) => Ok(Ok(change)),
        Err(status) if status.code() == Code::FailedPrecondition => {
            let info = status.get_details_error_info();
            Ok(Err(info.map(|info| info.reason).unwrap_or_default()))
        }
        Err(status) => Err(status.into()),
    }
}
