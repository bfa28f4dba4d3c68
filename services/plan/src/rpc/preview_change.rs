//! `PlanService.PreviewChange`, and the decision that `ApplyChange` repeats.

use std::sync::Arc;

use chassis::{PgConnection, field_error, wire};
use chrono::{DateTime, NaiveDate, Utc};
use proto::plan::v1 as pb;
use values::{AccountId, ContractId, ContractOfferId, Money};

use super::convert;
use super::get_current_plan::{self, Current, with_terms};
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Charge, Family, Plan};
use crate::domain::change::{self, Direction, Effect, Facts, Mode};
use crate::domain::price;
use crate::domain::timeline::{self, Running};
use crate::error::Error;
use crate::store::contract_offers::{self, Offer};
use crate::store::{accounts, contracts, segments};

/// A requested change.
pub struct Asked<'a> {
    /// Account.
    pub account: AccountId,
    /// Family code.
    pub family: &'a str,
    /// Plan code.
    pub plan: &'a str,
    /// Billing cycle; `None` keeps the present one.
    pub cycle: Option<&'a str>,
    /// Whether an operator requests the change.
    pub by_operator: bool,
    /// For a change that has been paid: what it was quoted from. It then takes effect at once.
    pub paid: Option<Paid<'a>>,
}

/// The sources of the quote of a paid change.
#[derive(Clone, Copy)]
pub struct Paid<'a> {
    /// Catalogue version.
    pub version: &'a str,
    /// Contract offer.
    pub offer: Option<ContractOfferId>,
}

/// A decided change.
pub struct Decided {
    /// The root account.
    pub root: AccountId,
    /// Plan in force; `None` after a subscription has ended.
    pub current: Option<Current>,
    /// Catalogue version of the new terms.
    pub catalogue: Arc<Catalogue>,
    /// When it takes effect.
    pub effect: Effect,
    /// Effective time.
    pub effective_at: DateTime<Utc>,
    /// Direction by rank.
    pub direction: Direction,
    /// Timeline on which it was decided.
    pub timeline: Vec<timeline::Segment>,
    /// Billing cycle and its anchor date; `None` if it is not paid in advance.
    pub cycle: Option<(String, NaiveDate)>,
    /// Contract offer with its terms; `None` for the catalogue's terms.
    pub offer: Option<Offer>,
    /// Whether the prorated price difference is paid at once.
    prorated: bool,
    /// Codes of the family and the requested plan.
    names: (String, String),
}

impl Decided {
    /// The requested plan, with the terms under which it would be bought.
    pub fn plan(&self) -> Result<&Plan, Error> {
        let (family, plan) = &self.names;
        self.catalogue
            .plan(family, plan)
            .ok_or_else(|| Error::PlanNotFound(plan.clone()))
    }

    /// The family in that catalogue version.
    pub fn family(&self) -> Result<&Family, Error> {
        let (code, _) = &self.names;
        self.catalogue
            .families
            .get(code)
            .ok_or_else(|| Error::FamilyNotFound(code.clone()))
    }

    /// The price per billing cycle with its formula.
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

    /// The fingerprint of everything that a quote binds (D12): the timeline, the effect and its date, the amount due at
    /// once, and the contract offer.
    pub fn etag(&self, now: DateTime<Utc>) -> Result<String, Error> {
        let later = matches!(self.effect, Effect::NextCycle | Effect::NextRenewal);
        let at = later.then_some(self.effective_at);
        // A change that takes effect or is paid at once is bound to the day of the quote, since its amount depends on
        // it.
        let day = if later {
            None
        } else {
            Some(self.family()?.zone.day(self.effective_at))
        };
        let due = self.difference(now)?.map(|(due, _)| due.minor());
        let offer = self.offer.as_ref().map(|offer| offer.offer_id);
        let cycle = self.cycle.as_ref().map(|(code, _)| code);
        let bound = format!(
            "{:?} {at:?} {day:?} {due:?} {offer:?} {cycle:?}",
            self.effect
        );
        Ok(timeline::etag(&self.timeline, &bound))
    }

    /// Months of the billing cycle; 0 without one.
    fn cycle_months(&self) -> Result<i32, Error> {
        let family = self.family()?;
        let cycle = self
            .cycle
            .as_ref()
            .and_then(|(code, _)| family.cycles.get(code));
        Ok(cycle.map_or(0, |it| i32::try_from(it.months).unwrap_or(0)))
    }

    /// The end (exclusive) of the present billing cycle, if the change takes effect within it and keeps it.
    fn cycle_end(&self) -> Result<Option<NaiveDate>, Error> {
        let family = self.family()?;
        let at_once = matches!(self.effect, Effect::Immediate | Effect::ImmediateOnPayment);
        let day = family.zone.day(self.effective_at);
        let Some((code, anchor)) = self.cycle.as_ref().filter(|_| at_once) else {
            return Ok(None);
        };
        let cycle = family.cycles.get(code).filter(|_| *anchor != day);
        Ok(cycle.and_then(|cycle| timeline::boundary(*cycle, *anchor, day)))
    }

    /// Whether the change must be paid before it takes effect.
    pub fn needs_payment(&self, now: DateTime<Utc>) -> Result<bool, Error> {
        let on_payment = self.effect == Effect::ImmediateOnPayment;
        Ok(on_payment || self.difference(now)?.is_some())
    }

    /// The prorated difference for the rest of the present cycle, with its formula.
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

/// Parses a requested change.
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

/// Decides a change at `now`: checks it and applies the family's change rules.
#[expect(
    clippy::too_many_lines,
    reason = "checks in the order in which they run"
)]
pub async fn decide(
    ctx: &Ctx,
    db: &mut PgConnection,
    asked: &Asked<'_>,
    now: DateTime<Utc>,
) -> Result<Decided, Error> {
    let found = accounts::changing(db, asked.account).await?;
    let known = found.ok_or(Error::AccountNotFound(asked.account))?;
    let (account, root) = (&known.account, known.account.root);
    let timeline = segments::list(db, root, asked.family).await?;
    let current = match timeline::in_force(&timeline, now).filter(|_| account.is_there(now)) {
        Some(segment) => Some(with_terms(ctx, db, root, (asked.family, segment.clone())).await?),
        None => None,
    };
    let catalogue = match (asked.paid, &known.active) {
        (Some(paid), _) => ctx.catalogue(db, paid.version).await?,
        (None, Some(version)) => ctx.catalogue(db, version).await?,
        (None, None) => return Err(Error::NoActiveCatalogue),
    };
    // What was quoted holds, whatever is offered now.
    if current.is_none() && asked.paid.is_none() {
        catalogue_offers(&catalogue, &account.profile_code, asked)?;
    }
    if root != asked.account {
        return Err(Error::UseRootAccount {
            account: asked.account,
            root,
        });
    }
    if account.closed_at.is_some() {
        return Err(Error::AccountClosed(root));
    }
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
    // Without a current plan, every plan is an upgrade.
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
        let paid_support = family.in_arrears && to.charge != Some(Charge::Free);
        if paid_support && known.is_trial {
            return Err(Error::UpgradeFirst(root));
        }
        let pending = timeline::pending(&timeline, now).is_some();
        if pending && !family.pending_replaceable {
            return Err(Error::PendingChangeExists(root));
        }
        let contract = current.as_ref().and_then(|it| it.segment.contract);
        if let Some(id) = contract.filter(|_| asked.by_operator) {
            // Before the rules send it to the method that ends a contract for one member, which refuses its payer.
            pays_for_nobody(db, id, root, now).await?;
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
            from_mode: if from.is_some() {
                Mode::Normal
            } else {
                Mode::Limited
            },
            cycle_only: same_plan,
        };
        let ruled = |facts: &Facts<'_>| {
            let ruling = change::effect(&family.rules, facts);
            ruling.map_err(|it| Error::Rejected(it, to.contact.clone()))
        };
        let mut ruling = ruled(&facts)?;
        // A new billing cycle is judged as a cycle switch even if the plan changes too (REQ-126), unless that switch is
        // already pending.
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
    if let Some(id) = current.as_ref().and_then(|it| it.segment.contract) {
        pays_for_nobody(db, id, root, now).await?;
    }
    let running = match current.as_ref().and_then(Current::cycle) {
        _ if family.in_arrears => Running::Month,
        Some((cycle, anchor)) => Running::Cycle(cycle, anchor),
        None => Running::Nothing,
    };
    let effect = running.effect(effect);
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

/// Where nothing is in force in a family: whether the catalogue offers it to the account at all (D5).
fn catalogue_offers(catalogue: &Catalogue, profile: &str, asked: &Asked<'_>) -> Result<(), Error> {
    let families = catalogue.profiles.get(profile).map(|it| &it.families);
    if families.is_some_and(|it| it.iter().any(|code| code == asked.family)) {
        return Ok(());
    }
    Err(Error::FamilyNotOffered {
        account: asked.account,
        family: asked.family.to_owned(),
    })
}

/// Who changes its plan leaves its contract; who pays for others in it does not (D16).
async fn pays_for_nobody(
    db: &mut PgConnection,
    id: ContractId,
    root: AccountId,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let contract = contracts::get(db, id).await?;
    let contract = contract.ok_or(Error::ContractNotFound(id))?;
    let members = contracts::members(db, id).await?;
    let others = members
        .iter()
        .any(|it| it.root_id != root.uuid() && it.is_in(now));
    if contract.payer_id == root.uuid() && others {
        return Err(Error::ContractPayer(root));
    }
    Ok(())
}

/// The billing cycle of a change and its anchor date. A change of plan keeps both; a change of cycle starts a new
/// anchor. `None` for a plan that is not paid in advance.
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
    // One instant, and one transaction.
    let mut tx = ctx.db.snapshot().await?;
    let decided = decide(ctx, &mut tx, &asked, now).await?;
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
    // The present month is charged even if only one of the plans costs something; later months only if the new one
    // does.
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
        cycle_months: decided.cycle_months()?,
        cycle_end_date: decided
            .cycle_end()?
            .map(|day| day.to_string())
            .unwrap_or_default(),
        offer_id: decided
            .offer
            .as_ref()
            .map(|offer| ContractOfferId::from_uuid(offer.offer_id).to_string())
            .unwrap_or_default(),
    })
}
