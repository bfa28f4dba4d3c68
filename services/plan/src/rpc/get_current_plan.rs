//! `PlanService.GetCurrentPlan`, and what is in force now for those who need it too.

use std::collections::BTreeMap;
use std::sync::Arc;

use chassis::wire;
use chrono::{DateTime, NaiveDate, Utc};
use proto::plan::v1 as pb;
use sqlx::PgConnection;
use values::{AccountId, Money, Period};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Charge, Cycle, Plan};
use crate::domain::price;
use crate::domain::timeline::{Segment, boundary};
use crate::error::Error;
use crate::store::contract_offers::{self, Offer};
use crate::store::{accounts, segments};

/// What is in force for an account in a family at an instant.
pub struct Current {
    /// The root account.
    pub root: AccountId,
    /// The segment.
    pub segment: Segment,
    /// The catalogue version of its terms.
    pub catalogue: Arc<Catalogue>,
    /// The offer whose terms it has.
    offer: Option<Offer>,
    /// The family.
    pub family: String,
}

impl Current {
    /// The plan, with the terms it was bought under.
    pub fn plan(&self) -> Result<&Plan, Error> {
        let code = &self.segment.plan_code;
        self.catalogue
            .plan(&self.family, code)
            .ok_or_else(|| Error::StoredPlan(code.clone()))
    }

    /// The value of each feature: the plan's, or the contract's in its place.
    pub fn entitlements(&self) -> Result<BTreeMap<String, String>, Error> {
        Ok(entitlements(self.plan()?, self.offer.as_ref()))
    }

    /// Its billing cycle and the day that it counts from.
    pub fn cycle(&self) -> Option<(Cycle, NaiveDate)> {
        let (code, anchor) = self.segment.cycle.as_ref()?;
        Some((self.catalogue.cycle(&self.family, code)?, *anchor))
    }

    /// What each of its cycles costs; `None` where nothing is paid in advance.
    pub fn cycle_price(&self) -> Result<Option<Money>, Error> {
        Ok(self.cycle_price_in_words()?.map(|(price, _)| price))
    }

    /// What each of its cycles costs, and how that is computed; `None` where nothing is paid in advance.
    pub fn cycle_price_in_words(&self) -> Result<Option<(Money, String)>, Error> {
        let Some((cycle, _)) = self.cycle() else {
            return Ok(None);
        };
        cycle_price(self.plan()?, self.offer.as_ref(), cycle)
    }

    /// The day on which it is charged next; `None` when it costs nothing.
    pub fn billing_date(&self, now: DateTime<Utc>) -> Result<Option<NaiveDate>, Error> {
        let (Some(family), plan) = (self.catalogue.families.get(&self.family), self.plan()?) else {
            return Ok(None);
        };
        if plan.charge == Some(Charge::Free) {
            return Ok(None);
        }
        let today = family.zone.day(now);
        if family.in_arrears {
            return Ok(Period::month_of(today).ok().map(Period::end));
        }
        let next = self.cycle().filter(|_| self.segment.end_at.is_none());
        Ok(next.and_then(|(cycle, anchor)| boundary(cycle, anchor, today)))
    }
}

/// The value of each feature of a plan: its own, or the contract's in its place.
pub fn entitlements(plan: &Plan, offer: Option<&Offer>) -> BTreeMap<String, String> {
    let mut all = plan.entitlements.clone();
    if let Some(offer) = offer {
        all.extend(offer.entitlements.0.clone());
    }
    all
}

/// What a cycle of a plan costs, and how that is computed; `None` where nothing is paid in advance.
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

/// What is in force at `now`, if anything: the subscription of a family billed in advance may have ended.
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
        let known = accounts::get(db, root)
            .await?
            .ok_or(Error::AccountNotFound(account))?;
        let catalogue = ctx.active_catalogue(db).await?;
        let profile = catalogue.profiles.get(&known.profile_code);
        let offered = profile.is_some_and(|profile| profile.families.iter().any(|it| it == family));
        if offered {
            return Ok((root, None));
        }
        return Err(Error::FamilyNotOffered {
            account,
            family: family.to_owned(),
        });
    };
    let current = with_terms(ctx, db, root, (family, segment)).await?;
    Ok((root, Some(current)))
}

/// A segment with the terms that it has.
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

/// What is in force at `now`, or why nothing is.
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
    let current = current(ctx, &mut db, account, family, now).await?;
    Ok(pb::GetCurrentPlanResponse {
        plan: Some(convert::plan(&current.catalogue, current.plan()?)),
        segment: Some(convert::segment(&current)?),
        next_billing_date: current
            .billing_date(now)?
            .map(|day| day.to_string())
            .unwrap_or_default(),
    })
}
