//! `PlanService.PreviewChange`, and the decision that `ApplyChange` makes again.

use std::sync::Arc;

use chassis::{field_error, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use sqlx::PgConnection;
use values::AccountId;

use super::convert;
use super::get_current_plan::{Current, current};
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Charge, Family, Plan};
use crate::domain::change::{self, Direction, Effect, Facts};
use crate::domain::timeline;
use crate::error::Error;
use crate::store::segments;

/// A change as asked for.
pub struct Asked<'a> {
    /// The account.
    pub account: AccountId,
    /// The family.
    pub family: &'a str,
    /// The plan.
    pub plan: &'a str,
    /// The cycle; `None` keeps the present one.
    pub cycle: Option<&'a str>,
    /// Whether an operator asks.
    pub by_operator: bool,
}

/// A change as decided.
pub struct Decided {
    /// What is in force.
    pub current: Current,
    /// The catalogue that the new terms are from.
    pub catalogue: Arc<Catalogue>,
    /// When it takes effect.
    pub effect: Effect,
    /// The instant.
    pub effective_at: DateTime<Utc>,
    /// Which way it goes.
    pub direction: Direction,
    /// The timeline it was decided on.
    pub timeline: Vec<timeline::Segment>,
    /// The plan asked for.
    plan: String,
}

impl Decided {
    /// The plan asked for, with the terms it would be bought under.
    pub fn plan(&self) -> Result<&Plan, Error> {
        let family = &self.current.plan()?.family;
        self.catalogue
            .plan(family, &self.plan)
            .ok_or_else(|| Error::PlanNotFound(self.plan.clone()))
    }

    /// The family as the active catalogue has it.
    pub fn family(&self) -> Result<&Family, Error> {
        let code = &self.current.plan()?.family;
        self.catalogue
            .families
            .get(code)
            .ok_or_else(|| Error::FamilyNotFound(code.clone()))
    }
}

/// The change as asked for on the wire.
pub fn read<'a>(
    account: &str,
    family: &'a str,
    plan: &'a str,
    cycle: &'a str,
    actor: i32,
) -> Result<Asked<'a>, Error> {
    let by_operator = match pb::Actor::try_from(actor) {
        Ok(pb::Actor::Customer) => false,
        Ok(pb::Actor::Operator) => true,
        Ok(pb::Actor::Unspecified) | Err(_) => {
            return Err(field_error("actor", "ACTOR_CUSTOMER or ACTOR_OPERATOR").into());
        }
    };
    Ok(Asked {
        account: wire::id("account_id", account)?,
        family: wire::code("family_code", family)?,
        plan: wire::code("plan_code", plan)?,
        cycle: wire::optional_code("billing_cycle_code", cycle)?,
        by_operator,
    })
}

/// What the family's rules say of the change at `now`.
pub async fn decide(
    ctx: &Ctx,
    db: &mut PgConnection,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Decided, Error> {
    let current = current(ctx, db, asked.account, asked.family, now).await?;
    if current.root != asked.account {
        return Err(Error::UseRootAccount {
            account: asked.account,
            root: current.root,
        });
    }
    let catalogue = ctx.active_catalogue(db).await?;
    let timeline = segments::list(db, current.root, asked.family).await?;
    let to = catalogue
        .plan(asked.family, asked.plan)
        .ok_or_else(|| Error::PlanNotFound(asked.plan.to_owned()))?;
    let family = catalogue
        .families
        .get(asked.family)
        .ok_or_else(|| Error::FamilyNotFound(asked.family.to_owned()))?;
    let from = current.plan()?;
    let cycle_only = from.code == to.code && asked.cycle.is_some();
    if from.code == to.code && !cycle_only {
        return Err(Error::PlanIsCurrent(to.code.clone()));
    }
    if !to.available {
        return Err(Error::PlanRetired(to.code.clone()));
    }
    if let Some(cycle) = asked
        .cycle
        .filter(|code| !family.cycles.contains_key(*code))
    {
        return Err(Error::CycleNotFound(cycle.to_owned()));
    }
    let direction = change::direction(from.rank, to.rank);
    let facts = Facts {
        in_contract: current.segment.contract.is_some(),
        by_operator: asked.by_operator,
        from_plan: &from.code,
        to_plan: &to.code,
        direction,
        has_contract_offer: false,
        from_mode: "NORMAL",
        cycle_only,
    };
    let effect = change::effect(&family.rules, &facts)?;
    if !asked.by_operator && !to.self_serve_purchase {
        return Err(Error::PlanNotOffered(to.code.clone()));
    }
    let running = current
        .segment
        .cycle
        .as_ref()
        .and_then(|(code, anchor)| Some((*family.cycles.get(code)?, *anchor)));
    let effective_at = timeline::effective_at(effect, now, family.zone, running);
    let plan = to.code.clone();
    Ok(Decided {
        current,
        catalogue,
        effect,
        effective_at,
        direction,
        timeline,
        plan,
    })
}

pub async fn handle(
    ctx: &Ctx,
    request: pb::PreviewChangeRequest,
) -> Result<pb::PreviewChangeResponse, Error> {
    let asked = read(
        &request.account_id,
        &request.family_code,
        &request.plan_code,
        &request.billing_cycle_code,
        request.actor,
    )?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let decided = decide(ctx, &mut db, &asked, now).await?;
    Ok(pb::PreviewChangeResponse {
        change: Some(shown(&decided, &asked, now)?),
    })
}

fn shown(decided: &Decided, asked: &Asked<'_>, now: DateTime<Utc>) -> Result<pb::Change, Error> {
    let (from, to, family) = (decided.current.plan()?, decided.plan()?, decided.family()?);
    let mut warnings = Vec::new();
    if !to.self_serve_cancel && !asked.by_operator {
        warnings.push("CANNOT_BE_UNDONE_BY_CUSTOMER".to_owned());
    }
    let losses = from.entitlements.iter().filter(|(code, value)| {
        let kept = to.entitlements.get(*code).map_or("", String::as_str);
        decided
            .catalogue
            .features
            .get(*code)
            .is_some_and(|feature| feature.is_loss(value, kept))
    });
    // The month that is running is charged whatever the new plan costs; after that, only a plan
    // that costs something.
    let charged = [from, to]
        .iter()
        .any(|plan| plan.charge != Some(Charge::Free));
    let billing_date = match values::Period::month_of(family.zone.day(now)) {
        Ok(month) if family.in_arrears && charged => month.end().to_string(),
        _ if family.in_arrears => String::new(),
        _ => family.zone.day(decided.effective_at).to_string(),
    };
    Ok(pb::Change {
        from_plan: Some(convert::plan(&decided.current.catalogue, from)),
        to_plan: Some(convert::plan(&decided.catalogue, to)),
        effect: convert::effect(decided.effect).into(),
        effective_time: Some(wire::timestamp(decided.effective_at)),
        direction: convert::direction(decided.direction).into(),
        timeline_etag: timeline::etag(&decided.timeline),
        catalogue_version: decided.catalogue.version.clone(),
        confirmations_required: family.confirmations_required,
        quote_ttl_minutes: family.quote_ttl_minutes,
        action_label: to.action_label.clone(),
        billing_date,
        warnings,
        losses: losses
            .map(|(code, value)| convert::entitlement(&decided.catalogue, code, value))
            .collect(),
    })
}
