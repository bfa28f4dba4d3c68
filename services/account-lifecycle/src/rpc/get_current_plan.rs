//! `AccountService.GetCurrentPlan`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use tonic_types::StatusExt as _;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::accounts::Account;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetCurrentPlanRequest,
) -> Result<pb::GetCurrentPlanResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let root = AccountId::from_uuid(account.root_id);
    let current_plan = match ctx.current_plan(id, family).await {
        Ok(found) => shown(ctx, root, found).await?,
        Err(status) if has_ended(&status) => ended(ctx, &account, family).await?,
        Err(status) => return Err(status.into()),
    };
    Ok(pb::GetCurrentPlanResponse {
        current_plan: Some(current_plan),
    })
}

fn has_ended(status: &tonic::Status) -> bool {
    let info = status.get_details_error_info();
    let reasons = ["NO_PLAN_THEN", "ACCOUNT_CLOSED"];
    info.is_some_and(|info| reasons.contains(&info.reason.as_str()))
}

async fn shown(
    ctx: &Ctx,
    root: AccountId,
    found: plan::GetCurrentPlanResponse,
) -> Result<pb::CurrentPlan, Error> {
    use pb::current_plan::State;
    let (plan, segment) = (
        found.plan.unwrap_or_default(),
        found.segment.unwrap_or_default(),
    );
    let governed_by = if segment.contract_id.is_empty() {
        String::new()
    } else {
        format!("CONTRACT:{}", segment.contract_id)
    };
    // A plan without a charge is paid in advance; without a billing cycle it is the trial's plan.
    let in_advance = plan.charge.is_none();
    let state = if in_advance && segment.billing_cycle_code.is_empty() {
        State::Trial
    } else if in_advance {
        in_force(ctx, root, &segment).await?
    } else {
        State::Active
    };
    Ok(pb::CurrentPlan {
        plan_code: plan.plan_code,
        display_name: plan.display_name,
        start_time: segment.start_time,
        governed_by,
        next_billing_date: found.next_billing_date,
        state: state.into(),
        billing_cycle_code: segment.billing_cycle_code,
        end_time: segment.end_time,
    })
}

/// State of a subscription that is in force.
async fn in_force(
    ctx: &Ctx,
    root: AccountId,
    segment: &plan::Segment,
) -> Result<pb::current_plan::State, Error> {
    use pb::current_plan::State;
    let family = &segment.family_code;
    let paid = ctx.subscription(root, family).await?;
    if paid.is_some_and(|it| it.state() == billing::subscription::State::PastDue) {
        return Ok(State::PastDue);
    }
    if segment.end_time.is_some() && ctx.pending_changes(root, family).await?.is_empty() {
        return Ok(State::CancelAtPeriodEnd);
    }
    Ok(State::Active)
}

/// The last plan that was in force. An account that was closed as soon as it was opened never had one, yet it exists.
async fn ended(ctx: &Ctx, account: &Account, family: &str) -> Result<pb::CurrentPlan, Error> {
    let root = AccountId::from_uuid(account.root_id);
    let last = ctx.segments(root, family).await?.pop();
    let last = last.ok_or(if account.closed_at.is_some() {
        Error::AccountClosed(AccountId::from_uuid(account.account_id))
    } else {
        Error::AccountNotFound(root)
    })?;
    Ok(pb::CurrentPlan {
        plan_code: last.plan_code,
        start_time: last.start_time,
        end_time: last.end_time,
        billing_cycle_code: last.billing_cycle_code,
        state: pb::current_plan::State::Ended.into(),
        ..pb::CurrentPlan::default()
    })
}
