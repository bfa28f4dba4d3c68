//! `PlanService.PreviewChange`, and the decision that `ApplyChange` makes again.

use std::sync::Arc;

use chassis::{field_error, wire};
use chrono::{DateTime, NaiveDate, Utc};
use proto::plan::v1 as pb;
use sqlx::PgConnection;
use values::{AccountId, ContractOfferId, Money};

use super::convert;
use super::get_current_plan::{self, Current, standing};
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Charge, Family, Plan};
use crate::domain::change::{self, Direction, Effect, Facts};
use crate::domain::{price, timeline};
use crate::error::Error;
use crate::store::contract_offers::{self, Offer};
use crate::store::{accounts, segments};

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
    /// What a change was quoted from that has been paid: it takes effect at once.
    pub paid: Option<Paid<'a>>,
}

/// What a change was quoted from.
#[derive(Clone, Copy)]
pub struct Paid<'a> {
    /// The catalogue version.
    pub version: &'a str,
    /// The offer.
    pub offer: Option<ContractOfferId>,
}

/// A change as decided.
pub struct Decided {
    /// The root account.
    pub root: AccountId,
    /// What is in force; `None` after a subscription has ended.
    pub current: Option<Current>,
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
    /// The cycle it is paid by, and the day that it counts from.
    pub cycle: Option<(String, NaiveDate)>,
    /// The offer whose terms it has.
    pub offer: Option<Offer>,
    /// Whether the difference of prices is paid at once.
    prorated: bool,
    /// The family and the plan asked for.
    names: (String, String),
}

impl Decided {
    /// The plan asked for, with the terms it would be bought under.
    pub fn plan(&self) -> Result<&Plan, Error> {
        let (family, plan) = &self.names;
        self.catalogue
            .plan(family, plan)
            .ok_or_else(|| Error::PlanNotFound(plan.clone()))
    }

    /// The family as the catalogue has it.
    pub fn family(&self) -> Result<&Family, Error> {
        let (code, _) = &self.names;
        self.catalogue
            .families
            .get(code)
            .ok_or_else(|| Error::FamilyNotFound(code.clone()))
    }

    /// What a cycle would cost, and how that is computed.
    fn cycle_price(&self) -> Result<Option<(Money, String)>, Error> {
        let family = self.family()?;
        let cycle = self
            .cycle
            .as_ref()
            .and_then(|(code, _)| family.cycles.get(code));
        match cycle {
            Some(cycle) => get_current_plan::cycle_price(self.plan()?, self.offer.as_ref(), *cycle),
            None => Ok(None),
        }
    }

    /// A fingerprint of all that a quote binds (D12): the timeline, the effect and its date, what is paid at
    /// once, and the offer.
    pub fn etag(&self, now: DateTime<Utc>) -> Result<String, Error> {
        let later = matches!(self.effect, Effect::NextCycle | Effect::NextRenewal);
        let at = later.then_some(self.effective_at);
        let due = self.difference(now)?.map(|(due, _)| due.minor());
        let offer = self.offer.as_ref().map(|offer| offer.offer_id);
        let cycle = self.cycle.as_ref().map(|(code, _)| code);
        let bound = format!("{:?} {at:?} {due:?} {offer:?} {cycle:?}", self.effect);
        Ok(timeline::etag(&self.timeline, &bound))
    }

    /// Whether it has to be paid before it takes effect.
    pub fn needs_payment(&self, now: DateTime<Utc>) -> Result<bool, Error> {
        let on_payment = self.effect == Effect::ImmediateOnPayment;
        Ok(on_payment || self.difference(now)?.is_some())
    }

    /// What is paid at once for the rest of the running cycle, and how that is computed.
    fn difference(&self, now: DateTime<Utc>) -> Result<Option<(Money, String)>, Error> {
        let Some(current) = self.current.as_ref().filter(|_| self.prorated) else {
            return Ok(None);
        };
        let (Some((cycle, anchor)), Some((to, _))) = (current.cycle(), self.cycle_price()?) else {
            return Ok(None);
        };
        let same = current.segment.cycle == self.cycle && self.effect == Effect::Immediate;
        let from = current
            .cycle_price()?
            .unwrap_or(Money::from_minor(0, to.currency()));
        let days = timeline::days_left(cycle, anchor, self.family()?.zone.day(now));
        let Some(days) = days.filter(|_| same) else {
            return Ok(None);
        };
        let due = price::difference(from, to, days);
        let due = due.map_err(|_| Error::StoredPlan(self.names.1.clone()))?;
        Ok(due.map(|due| (due, price::difference_formula(from, to, days))))
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
        paid: None,
    })
}

/// What the family's rules say of the change at `now`.
#[expect(
    clippy::too_many_lines,
    reason = "one check after the other, in their order"
)]
pub async fn decide(
    ctx: &Ctx,
    db: &mut PgConnection,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Decided, Error> {
    let (root, current) = match standing(ctx, db, asked.account, asked.family, now).await {
        // What was quoted holds, whatever is offered now.
        Err(Error::FamilyNotOffered { .. }) if asked.paid.is_some() => (asked.account, None),
        found => found?,
    };
    if root != asked.account {
        return Err(Error::UseRootAccount {
            account: asked.account,
            root,
        });
    }
    let known = accounts::get(db, root)
        .await?
        .ok_or(Error::AccountNotFound(root))?;
    if known.closed_at.is_some() {
        return Err(Error::AccountClosed(root));
    }
    let catalogue = match asked.paid {
        Some(paid) => ctx.catalogue(db, paid.version).await?,
        None => ctx.active_catalogue(db).await?,
    };
    let timeline = segments::list(db, root, asked.family).await?;
    let to = catalogue
        .plan(asked.family, asked.plan)
        .ok_or_else(|| Error::PlanNotFound(asked.plan.to_owned()))?;
    let family = catalogue
        .families
        .get(asked.family)
        .ok_or_else(|| Error::FamilyNotFound(asked.family.to_owned()))?;
    if current.is_none() && family.in_arrears {
        return Err(Error::NoPlanThen(root));
    }
    if let Some(cycle) = asked
        .cycle
        .filter(|code| !family.cycles.contains_key(*code))
    {
        return Err(Error::CycleNotFound(cycle.to_owned()));
    }
    let from = match &current {
        Some(current) => Some(current.plan()?),
        None => None,
    };
    let in_force = current.as_ref().and_then(|it| it.segment.cycle.as_ref());
    let same_plan = from.is_some_and(|from| from.code == to.code);
    let same_cycle = asked
        .cycle
        .is_none_or(|code| in_force.is_some_and(|(it, _)| it == code));
    // Nothing stands behind the lowest rank.
    let direction = change::direction(from.map_or(-1, |from| from.rank), to.rank);
    let offer = match asked.paid {
        Some(Paid {
            offer: Some(id), ..
        }) => contract_offers::get(db, id).await?,
        Some(_) => None,
        None => contract_offers::accepted(db, root, asked.plan).await?,
    };
    let (effect, prorated) = if asked.paid.is_some() {
        (Effect::ImmediateOnPayment, false)
    } else {
        if same_plan && same_cycle {
            return Err(Error::PlanIsCurrent(to.code.clone()));
        }
        if !to.available {
            return Err(Error::PlanRetired(to.code.clone()));
        }
        let pending = timeline::pending(&timeline, now).is_some();
        if pending && !family.pending_replaceable {
            return Err(Error::PendingChangeExists(root));
        }
        let facts = Facts {
            in_contract: current
                .as_ref()
                .is_some_and(|it| it.segment.contract.is_some()),
            by_operator: asked.by_operator,
            from_plan: from.map_or("", |from| &from.code),
            to_plan: &to.code,
            direction,
            has_contract_offer: offer.is_some(),
            from_mode: if from.is_some() { "NORMAL" } else { "LIMITED" },
            cycle_only: same_plan,
        };
        let ruled = |facts: &Facts<'_>| {
            let ruling = change::effect(&family.rules, facts);
            ruling.map_err(|it| Error::Rejected(it, to.contact.clone()))
        };
        let mut ruling = ruled(&facts)?;
        // Another cycle is another cycle, whatever comes with it (REQ-126), but for one that was switched before.
        let waiting = timeline::pending(&timeline, now).and_then(|it| it.cycle.as_ref());
        let switched = asked.cycle == waiting.map(|(code, _)| code.as_str());
        if !same_cycle && !switched && !same_plan && in_force.is_some() {
            let cycle_only = true;
            ruling = ruled(&Facts {
                cycle_only,
                ..facts
            })?;
        }
        let ends = current.as_ref().and_then(|it| it.segment.end_at);
        if ends.is_some() && !pending && !family.in_arrears {
            return Err(Error::Cancelled(root));
        }
        let sold = family.sells(to) && (asked.by_operator || to.self_serve_purchase);
        if !sold {
            return Err(Error::PlanNotOffered(to.code.clone()));
        }
        ruling
    };
    let running = current.as_ref().and_then(Current::cycle);
    let effective_at = timeline::effective_at(effect, now, family.zone, running);
    let pending = timeline::pending(&timeline, now).filter(|it| it.start_at == effective_at);
    let kept = pending.and_then(|it| it.cycle.as_ref()).or(in_force);
    let cycle = cycle(asked, (family, to), (kept, offer.is_some()), effective_at);
    Ok(Decided {
        root,
        effect,
        effective_at,
        direction,
        timeline,
        cycle,
        offer: offer.filter(|_| to.quote_only),
        prorated,
        names: (asked.family.to_owned(), asked.plan.to_owned()),
        current,
        catalogue,
    })
}

/// The cycle that a change is paid by, and the day it counts from: a change of plan keeps both, a change of
/// cycle counts anew; `None` for a plan that is not paid in advance.
fn cycle(
    asked: &Asked<'_>,
    (family, to): (&Family, &Plan),
    (kept, in_contract): (Option<&(String, NaiveDate)>, bool),
    effective_at: DateTime<Utc>,
) -> Option<(String, NaiveDate)> {
    let priced = to.monthly_minimum.is_some_and(|it| 0 < it.minor()) || in_contract;
    if family.cycles.is_empty() || !priced {
        return None;
    }
    let shortest = || family.cycles.iter().min_by_key(|(_, cycle)| cycle.months);
    let code = asked
        .cycle
        .map(str::to_owned)
        .or_else(|| kept.map(|(code, _)| code.clone()))
        .or_else(|| shortest().map(|(code, _)| code.clone()))?;
    let anchor = kept
        .filter(|(kept, _)| *kept == code)
        .map_or_else(|| family.zone.day(effective_at), |(_, anchor)| *anchor);
    Some((code, anchor))
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
    let (to, family) = (decided.plan()?, decided.family()?);
    let current = decided.current.as_ref();
    let from = current.map(Current::plan).transpose()?;
    let mut warnings = Vec::new();
    if !to.self_serve_cancel && !asked.by_operator {
        warnings.push("CANNOT_BE_UNDONE_BY_CUSTOMER".to_owned());
    }
    let held = current.map(Current::entitlements).transpose()?;
    let gets = get_current_plan::entitlements(to, decided.offer.as_ref());
    let losses = held.iter().flatten().filter(|(code, value)| {
        let kept = gets.get(*code).map_or("", String::as_str);
        decided
            .catalogue
            .features
            .get(*code)
            .is_some_and(|feature| feature.is_loss(value, kept))
    });
    // The month that is running is charged whatever the new plan costs; after that, only a plan
    // that costs something.
    let charged = from
        .iter()
        .chain([&to])
        .any(|plan| plan.charge != Some(Charge::Free));
    let billing_date = match values::Period::month_of(family.zone.day(now)) {
        Ok(month) if family.in_arrears && charged => month.end().to_string(),
        _ if family.in_arrears => String::new(),
        _ => family.zone.day(decided.effective_at).to_string(),
    };
    let (price, formula) = decided.cycle_price()?.unzip();
    let (due, words) = decided.difference(now)?.unzip();
    Ok(pb::Change {
        from_plan: match current {
            Some(current) => Some(convert::plan(&current.catalogue, current.plan()?)),
            None => None,
        },
        to_plan: Some(convert::plan(&decided.catalogue, to)),
        effect: convert::effect(decided.effect).into(),
        effective_time: Some(wire::timestamp(decided.effective_at)),
        direction: convert::direction(decided.direction).into(),
        timeline_etag: decided.etag(now)?,
        catalogue_version: decided.catalogue.version.clone(),
        confirmations_required: family.confirmations_required,
        quote_ttl_minutes: family.quote_ttl_minutes,
        action_label: to.action_label.clone(),
        billing_date,
        warnings,
        losses: losses
            .map(|(code, value)| convert::entitlement(&decided.catalogue, code, value))
            .collect(),
        billing_cycle_code: decided
            .cycle
            .as_ref()
            .map(|(code, _)| code.clone())
            .unwrap_or_default(),
        cycle_price: price.map(wire::pb_money),
        cycle_formula: formula.unwrap_or_default(),
        prorated_difference: due.map(wire::pb_money),
        prorated_formula: words.unwrap_or_default(),
        offer_id: decided
            .offer
            .as_ref()
            .map(|offer| ContractOfferId::from_uuid(offer.offer_id).to_string())
            .unwrap_or_default(),
    })
}
