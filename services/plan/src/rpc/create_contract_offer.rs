//! `PlanService.CreateContractOffer`
//!
//! Stores an individual price, term and entitlements for a quote-only plan, which the account may accept until it
//! expires.

use std::collections::BTreeMap;

use chassis::{Call, Unit, field_error, wire};
use proto::plan::v1 as pb;
use sqlx::types::Json;
use values::Money;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::{Catalogue, Cycle, Plan};
use crate::domain::price;
use crate::error::Error;
use crate::store::accounts;
use crate::store::contract_offers::{self, Offer};

#[expect(
    clippy::too_many_lines,
    reason = "checks in the order in which they run"
)]
pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateContractOfferRequest>,
    mut unit: Unit,
) -> Result<pb::CreateContractOfferResponse, Error> {
    let request = &call.message;
    let account = wire::id("account_id", &request.account_id)?;
    let plan_code = wire::code("plan_code", &request.plan_code)?;
    let minimum = wire::money("monthly_minimum", request.monthly_minimum.as_ref())?;
    let expires_at = wire::instant("expire_time", request.expire_time)?;
    if minimum.minor() <= 0 {
        return Err(field_error("monthly_minimum.amount", "an amount above zero").into());
    }
    if expires_at <= call.now {
        return Err(field_error("expire_time", "a time in the future").into());
    }
    let known = accounts::get(&mut unit.tx, account)
        .await?
        .ok_or(Error::AccountNotFound(account))?;
    if known.root != account {
        return Err(Error::UseRootAccount {
            account,
            root: known.root,
        });
    }
    if known.closed_at.is_some() {
        return Err(Error::AccountClosed(account));
    }
    let catalogue = ctx.active_catalogue(&mut unit.tx).await?;
    let profile = catalogue.profiles.get(&known.profile_code);
    let families = profile
        .map(|profile| &profile.families[..])
        .unwrap_or_default();
    let plan = families
        .iter()
        .find_map(|family| catalogue.plan(family, plan_code))
        .ok_or_else(|| Error::PlanNotFound(plan_code.to_owned()))?;
    if !plan.quote_only {
        return Err(field_error("plan_code", "a quote-only plan").into());
    }
    let currency = catalogue.families.get(&plan.family).map(|it| it.currency);
    if currency != Some(minimum.currency()) {
        return Err(field_error("monthly_minimum.currency_code", "the family's currency").into());
    }
    if !plan.contract_terms_months.contains(&request.term_months) {
        let terms: Vec<_> = plan
            .contract_terms_months
            .iter()
            .map(i32::to_string)
            .collect();
        return Err(field_error("term_months", terms.join(", ")).into());
    }
    // An offer whose price exceeds the range of money could never be posted to the ledger.
    let bookable = |cycle: &Cycle| {
        let price = price::of_cycle(minimum, *cycle);
        price.and_then(Money::amount).is_ok()
    };
    let family = catalogue.families.get(&plan.family);
    if !family.is_some_and(|family| family.cycles.values().all(bookable)) {
        return Err(field_error("monthly_minimum.amount", "a smaller amount").into());
    }
    let offer = Offer {
        offer_id: call.derived_id("offer"),
        root_id: account.uuid(),
        family_code: plan.family.clone(),
        plan_code: plan.code.clone(),
        currency: minimum.currency().code().to_owned(),
        minimum_minor: minimum.minor(),
        term_months: request.term_months,
        entitlements: Json(entitlements(&catalogue, plan, &request.entitlements)?),
        offered_by: call.caller.to_string(),
        created_at: call.now,
        expires_at,
        accepted_at: None,
    };
    contract_offers::insert(&mut unit.tx, &offer).await?;
    let shown = convert::offer(&offer, &catalogue, call.now)?;
    Ok(unit
        .commit(pb::CreateContractOfferResponse {
            contract_offer: Some(shown),
        })
        .await?)
}

/// The entitlement values that replace the plan's where the plan leaves them to a contract.
fn entitlements(
    catalogue: &Catalogue,
    plan: &Plan,
    sent: &[pb::Entitlement],
) -> Result<BTreeMap<String, String>, Error> {
    let mut all = BTreeMap::new();
    for (n, given) in sent.iter().enumerate() {
        let code = &given.feature_code;
        let of_plan = plan.entitlements.get(code).map_or("", String::as_str);
        let negotiable = catalogue
            .features
            .get(code)
            .is_some_and(|feature| feature.negotiable(of_plan, &given.value));
        if !negotiable || code == "monthly_minimum" {
            let path = format!("entitlements[{n}]");
            let expected = "a feature that the plan leaves to a contract, with a valid value";
            return Err(field_error(path, expected).into());
        }
        all.insert(code.clone(), given.value.clone());
    }
    Ok(all)
}
