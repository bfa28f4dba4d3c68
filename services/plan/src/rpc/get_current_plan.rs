//! `PlanService.GetCurrentPlan`, and what is in force now for those who need it too.

use std::sync::Arc;

use chassis::wire;
use chrono::{DateTime, NaiveDate, Utc};
use proto::plan::v1 as pb;
use sqlx::PgConnection;
use values::{AccountId, Period, anniversary, elapsed_cycles};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Charge, Plan};
use crate::domain::timeline::Segment;
use crate::error::Error;
use crate::store::{accounts, segments};

/// What is in force for an account in a family at an instant.
pub struct Current {
    /// The root account.
    pub root: AccountId,
    /// The segment.
    pub segment: Segment,
    /// The catalogue version of its terms.
    pub catalogue: Arc<Catalogue>,
    /// The family.
    family: String,
}

impl Current {
    /// The plan, with the terms it was bought under.
    pub fn plan(&self) -> Result<&Plan, Error> {
        let code = &self.segment.plan_code;
        self.catalogue
            .plan(&self.family, code)
            .ok_or_else(|| Error::StoredPlan(code.clone()))
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
        let cycle = self
            .segment
            .cycle
            .as_ref()
            .and_then(|(code, anchor)| Some((family.cycles.get(code)?, *anchor)));
        Ok(cycle.and_then(|(cycle, anchor)| {
            anniversary(
                anchor,
                cycle.months,
                elapsed_cycles(anchor, cycle.months, today) + 1,
            )
        }))
    }
}

/// What is in force at `now`, or why nothing is.
pub async fn current(
    ctx: &Ctx,
    db: &mut PgConnection,
    account: AccountId,
    family: &str,
    now: DateTime<Utc>,
) -> Result<Current, Error> {
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
            return Err(Error::NoPlanThen(account));
        }
        return Err(Error::FamilyNotOffered {
            account,
            family: family.to_owned(),
        });
    };
    let catalogue = ctx.catalogue(db, &segment.catalogue_version).await?;
    Ok(Current {
        root,
        segment,
        catalogue,
        family: family.to_owned(),
    })
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
        segment: Some(convert::segment(current.root, family, &current.segment)),
        next_billing_date: current
            .billing_date(now)?
            .map(|day| day.to_string())
            .unwrap_or_default(),
    })
}
