//! Ending what a softly closed account has going on (C-17): the account is dormant first, so that nobody buys and no
//! order begins, and then its plans and what recurs end. Whoever is first finishes it, the RPC or a job (REQ-050).
//!
//! Each look finds what is left, and the ids of its requests follow from what is asked: safe to repeat, and side by
//! side.

use std::time::Duration;

use chassis::crash_point;
use chrono::{DateTime, Utc};
use prost::Message as _;
use proto::plan::v1 as plan;
use tonic::Code;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::AccountId;

use super::tell_standing;
use crate::clients::{Profile, actor};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, accounts};

/// How often it is looked again, and after what pause, where another changed the timeline in between.
const LOOKS: usize = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// What a soft close does to one family.
pub enum Step {
    /// Puts the free plan in force.
    Lower(Box<plan::Change>),
    /// Ends a subscription with its period.
    Cancel(String),
    /// Withdraws a change that is to come, of a family that is left as it is.
    Withdraw(String),
}

/// What stands in the way of a soft close: why, and the plan.
pub type Blocker = (String, String);

/// Ends what a root account that was made dormant still has going on; nothing where nothing is left.
pub async fn finish(ctx: &Ctx, root: Uuid) -> Result<(), Error> {
    // Before anything ends: from then on nothing is booked in the other services either (D37).
    tell_standing::of(ctx, root).await?;
    let mut looks = 1;
    loop {
        match ended(ctx, root).await {
            Err(Error::Peer(status)) if status.code() == Code::Aborted && looks < LOOKS => {
                looks += 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Looks for what is left, ends it, and notes that nothing is.
async fn ended(ctx: &Ctx, root: Uuid) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let account = accounts::get(&mut tx, root).await?;
    let by_operator = accounts::soft_close_under_way(&mut tx, root).await?;
    tx.commit().await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let (Some(since), Some(by_operator)) = (account.dormant_at, by_operator) else {
        return Ok(());
    };
    let id = AccountId::from_uuid(root);
    let profile = ctx.profile_of(&account).await?;
    let seed = seed(root, since);
    let (steps, blockers) = steps(ctx, (id, &profile), by_operator).await?;
    for step in &steps {
        done(ctx, (id, seed), by_operator, step).await?;
    }
    recurring_ended(ctx, (id, seed)).await?;
    if !blockers.is_empty() {
        return Err(Error::SoftCloseBlocked(blockers));
    }
    crash_point("soft_close.ended");
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    accounts::set_soft_closed(&mut tx, root, since).await?;
    tx.commit().await?;
    Ok(())
}

/// What the request ids of one soft close are made of.
fn seed(root: Uuid, since: DateTime<Utc>) -> Uuid {
    let name = format!("soft close {}", since.timestamp_micros());
    Uuid::new_v5(&root, name.as_bytes())
}

/// Does one step.
async fn done(
    ctx: &Ctx,
    (id, seed): (AccountId, Uuid),
    by_operator: bool,
    step: &Step,
) -> Result<(), Error> {
    match step {
        Step::Lower(change) => {
            let request_id = Uuid::new_v5(&seed, &change.encode_to_vec());
            ctx.put_plan(id, change, (by_operator, request_id)).await?;
        }
        Step::Cancel(family) => {
            let request_id = Uuid::new_v5(&seed, format!("cancel {family}").as_bytes());
            ctx.cancel_subscription(id, family, request_id).await?;
        }
        Step::Withdraw(family) => {
            let request_id = Uuid::new_v5(&seed, format!("withdraw {family}").as_bytes());
            ctx.withdraw_change(id, family, request_id).await?;
        }
    }
    Ok(())
}

/// Ends what recurs beside the plans: add-ons, rentals, auto-recharge.
async fn recurring_ended(ctx: &Ctx, (id, seed): (AccountId, Uuid)) -> Result<(), Error> {
    for code in ctx.booked_add_ons(id).await? {
        let request_id = Uuid::new_v5(&seed, format!("add-on {code}").as_bytes());
        ctx.end_add_on(id, &code, request_id).await?;
    }
    for rental in ctx.running_rentals(id).await? {
        ctx.end_rental(id.uuid(), rental.uuid()).await?;
    }
    let request_id = Uuid::new_v5(&seed, b"recharge off");
    match ctx.recharge_off(id, request_id).await {
        // Where there is none there is nothing to switch off.
        Err(status) if status.code() != Code::FailedPrecondition => Err(status.into()),
        Ok(()) | Err(_) => Ok(()),
    }
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
        let before = (steps.len(), blockers.len());
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
        // What is to come would begin after it.
        let left = before == (steps.len(), blockers.len());
        if left && !ctx.pending_changes(id, family).await?.is_empty() {
            steps.push(Step::Withdraw(family.clone()));
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
