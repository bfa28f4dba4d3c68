//! `PlanService.GetCurrentPlan`, and the plan in force, which other RPCs share.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::{PgConnection, wire};
use chrono::{DateTime, NaiveDate, Utc};
use proto::plan::v1 as pb;
use values::{AccountId, Money, Period, Zone};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Charge, Cycle, Plan};
use crate::domain::price;
use crate::domain::timeline::{Segment, boundary};
use crate::error::Error;
use crate::store::contract_offers::{self, Offer};
use crate::store::{accounts, segments};

/// The plan in force for an account in a family at an instant.
pub struct Current {
    /// The root account.
    pub root: AccountId,
    /// Segment in force.
    pub segment: Segment,
    /// Catalogue version of its terms.
    pub catalogue: Arc<Catalogue>,
    /// Contract offer with its terms; `None` for the catalogue's terms.
    offer: Option<Offer>,
    /// Family code.
    pub family: String,
}

impl Current {
    /// The plan, with the terms that it was bought under.
    pub fn plan(&self) -> Result<&Plan, Error> {
        let code = &self.segment.plan_code;
        self.catalogue
            .plan(&self.family, code)
            .ok_or_else(|| Error::StoredPlan(code.clone()))
    }

    /// The feature values: the plan's, overridden by the contract offer.
    pub fn entitlements(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(entitlements(self.plan()?, self.offer.as_ref()))
    }

    /// The billing cycle and its anchor date; `None` if it is not paid in advance.
    pub fn cycle(&self) -> Option<(Cycle, NaiveDate)> {
        let (code, anchor) = self.segment.cycle.as_ref()?;
        Some((self.catalogue.cycle(&self.family, code)?, *anchor))
    }

    /// The price per billing cycle; `None` if it is not paid in advance.
    pub fn cycle_price(&self) -> Result<Option<Money>, Error> {
        Ok(self.cycle_price_in_words()?.map(|(price, _)| price))
    }

    /// The price per billing cycle with its formula; `None` if it is not paid in advance.
    pub fn cycle_price_in_words(&self) -> Result<Option<(Money, String)>, Error> {
        let Some((cycle, _)) = self.cycle() else {
            return Ok(None);
        };
        cycle_price(self.plan()?, self.offer.as_ref(), cycle)
    }

    /// The next day from `today` on which a month with this segment is charged; `None` if none is.
    fn charged_on(&self, zone: Zone, today: NaiveDate) -> Result<Option<NaiveDate>, Error> {
        let month_of = |day| Period::month_of(day).ok();
        let Some(running) = month_of(today) else {
            return Ok(None);
        };
        let over = |end: DateTime<Utc>| end <= zone.start_of(running.start());
        if self.plan()?.charge == Some(Charge::Free) || self.segment.end_at.is_some_and(over) {
            return Ok(None);
        }
        let first = month_of(zone.day(self.segment.start_at));
        Ok(first.map(|first| first.end().max(running.end())))
    }

    /// The day on which the next billing cycle starts; `None` without a billing cycle, or if the segment ends before.
    fn renewed_on(&self, zone: Zone, today: NaiveDate) -> Option<NaiveDate> {
        let (cycle, anchor) = self.cycle()?;
        let start = zone.day(self.segment.start_at);
        let next = if today < start {
            start
        } else {
            boundary(cycle, anchor, today)?
        };
        let goes_on = |end: DateTime<Utc>| zone.start_of(next) < end;
        self.segment.end_at.is_none_or(goes_on).then_some(next)
    }
}

/// The next billing date of an account, over all present and pending segments; `None` if nothing will be charged.
async fn billing_date(
    ctx: &Ctx,
    db: &mut PgConnection,
    current: &Current,
    now: DateTime<Utc>,
) -> Result<Option<NaiveDate>, Error> {
    let Some(policy) = current.catalogue.families.get(&current.family) else {
        return Ok(None);
    };
    let today = policy.zone.day(now);
    let mut next: Option<NaiveDate> = None;
    let running = Period::month_of(today).map_or(today, Period::start);
    let from = policy.zone.start_of(running);
    let timeline = segments::list(db, current.root, &current.family).await?;
    let over = |it: &Segment| it.end_at.is_some_and(|end| end <= from.min(now));
    for segment in timeline.into_iter().filter(|it| !over(it)) {
        let of = with_terms(ctx, db, current.root, (&current.family, segment)).await?;
        let day = if policy.in_arrears {
            of.charged_on(policy.zone, today)?
        } else if of.segment.end_at.is_some_and(|end| end <= now) {
            None
        } else {
            of.renewed_on(policy.zone, today)
        };
        next = next.into_iter().chain(day).min();
    }
    Ok(next)
}

/// The feature values of a plan, overridden by a contract offer.
pub fn entitlements(plan: &Plan, offer: Option<&Offer>) -> BTreeMap<String, String> {
    let mut all = plan.entitlements.clone();
    if let Some(offer) = offer {
        all.extend(offer.entitlements.0.clone());
    }
    all
}

/// The price of a billing cycle with its formula; `None` if nothing is paid in advance.
pub fn cycle_price(
    plan: &Plan,
    offer: Option<&Offer>,
    cycle: Cycle,
) -> Result<Option<(Money, String)>, Error> {
    let minimum = match (offer, plan.monthly_minimum) {
        (Some(offer), _) => {
            let currency = offer.currency.parse();
            let currency = currency.map_err(|_| Error::StoredPlan(plan.code.clone()))?;
            Some(Money::from_minor(offer.minimum_minor, currency))
        }
        (None, minimum) => minimum,
    };
    let Some(minimum) = minimum else {
        return Ok(None);
    };
    let price = price::of_cycle(minimum, cycle);
    let price = price.map_err(|_| Error::StoredPlan(plan.code.clone()))?;
    let formula = price::cycle_formula(minimum, cycle);
    Ok((0 < price.minor()).then_some((price, formula)))
}

/// The plan in force at `now`, if any: in a family billed in advance, the subscription may have ended.
pub async fn standing(
    ctx: &Ctx,
    db: &mut PgConnection,
    account: AccountId,
    family: &str,
    now: DateTime<Utc>,
) -> Result<(AccountId, Option<Current>), Error> {
    let found = segments::in_force(db, account, family, now).await?;
    let (root, segment) = found.ok_or(Error::AccountNotFound(account))?;
    let Some(segment) = segment else {
        offered(ctx, db, (account, root), family).await?;
        return Ok((root, None));
    };
    let current = with_terms(ctx, db, root, (family, segment)).await?;
    Ok((root, Some(current)))
}

/// Checks that a family without a plan in force is offered to the account at all (D5).
pub async fn offered(
    ctx: &Ctx,
    db: &mut PgConnection,
    (account, root): (AccountId, AccountId),
    family: &str,
) -> Result<(), Error> {
    let known = accounts::get(db, root)
        .await?
        .ok_or(Error::AccountNotFound(account))?;
    let catalogue = ctx.active_catalogue(db).await?;
    let profile = catalogue.profiles.get(&known.profile_code);
    if profile.is_some_and(|profile| profile.families.iter().any(|it| it == family)) {
        return Ok(());
    }
    Err(Error::FamilyNotOffered {
        account,
        family: family.to_owned(),
    })
}

/// A segment together with its terms.
pub async fn with_terms(
    ctx: &Ctx,
    db: &mut PgConnection,
    root: AccountId,
    (family, segment): (&str, Segment),
) -> Result<Current, Error> {
    let catalogue = ctx.catalogue(db, &segment.catalogue_version).await?;
    let offer = match segment.offer {
        Some(id) => contract_offers::get(db, id).await?,
        None => None,
    };
    Ok(Current {
        root,
        segment,
        catalogue,
        offer,
        family: family.to_owned(),
    })
}

/// The plan in force at `now`; `NoPlanThen` if there is none.
pub async fn current(
    ctx: &Ctx,
    db: &mut PgConnection,
    account: AccountId,
    family: &str,
    now: DateTime<Utc>,
) -> Result<Current, Error> {
    let (_, current) = standing(ctx, db, account, family, now).await?;
    current.ok_or(Error::NoPlanThen(account))
}

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetCurrentPlanRequest,
) -> Result<pb::GetCurrentPlanResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let (root, current) = standing(ctx, &mut db, account, family, now).await?;
    let Some(current) = current else {
        let known = accounts::get(&mut db, root).await?;
        let closed = known.is_some_and(|it| it.closed_at.is_some());
        return Err(if closed {
            Error::AccountClosed(account)
        } else {
            Error::NoPlanThen(account)
        });
    };
    Ok(pb::GetCurrentPlanResponse {
        plan: Some(convert::plan(&current.catalogue, current.plan()?)),
        segment: Some(convert::segment(&current)?),
        next_billing_date: billing_date(ctx, &mut db, &current, now)
            .await?
            .map(|day| day.to_string())
            .unwrap_or_default(),
    })
}
