//! Calls of `plan`, and its answers in billing's words.

use std::collections::HashMap;
use std::sync::Arc;

use chassis::retried;
use proto::plan::v1 as pb;
use tonic::Status;
use values::{Currency, Money, Rounding, Zone};

use crate::ctx::Ctx;
use crate::domain::charge::{Charge, Terms, Tier};
use crate::domain::lots::LotKind;

/// A catalogue version, as far as billing needs it.
#[derive(Debug)]
pub struct Catalogue {
    /// Its name.
    pub version: String,
    /// The families by code.
    pub families: HashMap<String, Family>,
    /// The terms of plans by family and plan.
    pub terms: HashMap<(String, String), Terms>,
    /// The profiles by code.
    pub profiles: HashMap<String, Profile>,
}

/// A family's policies.
#[derive(Debug, Clone)]
pub struct Family {
    /// The currency of its prices.
    pub currency: Currency,
    /// The zone that makes its days.
    pub zone: Zone,
    /// Whether its plans are billed after the period.
    pub in_arrears: bool,
    /// Usage left out of the percentage base.
    pub excluded_categories: Vec<String>,
    /// Whether a run waits for approval.
    pub run_approval_required: bool,
}

/// A profile's policies.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The currency of its ledger.
    pub currency: Currency,
    /// The zone of its days.
    pub zone: Zone,
    /// Its families.
    pub families: Vec<String>,
    /// The order in which lots are spent.
    pub consume_order: Vec<LotKind>,
    /// The issuer of its invoices.
    pub issuer: String,
    /// The month in which the issuer's fiscal year starts, 1 to 12.
    pub fiscal_year_start_month: u32,
}

impl Ctx {
    /// The catalogue version in force for new purchases.
    pub async fn active_catalogue(&self) -> Result<Arc<Catalogue>, Status> {
        self.fetch("").await
    }

    /// The catalogue version `version`.
    pub async fn catalogue(&self, version: &str) -> Result<Arc<Catalogue>, Status> {
        let cached = self
            .catalogues
            .read()
            .ok()
            .and_then(|cache| cache.get(version).cloned());
        match cached {
            Some(catalogue) => Ok(catalogue),
            None => self.fetch(version).await,
        }
    }

    async fn fetch(&self, version: &str) -> Result<Arc<Catalogue>, Status> {
        let ask = || {
            let (mut plan, request) = (
                self.plan.clone(),
                pb::GetCatalogueRequest {
                    version: version.to_owned(),
                },
            );
            async move { plan.get_catalogue(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        let read = answer.catalogue.and_then(|catalogue| read(&catalogue));
        let catalogue = Arc::new(read.ok_or_else(|| {
            tracing::error!(version, "the catalogue of plan does not read");
            chassis::internal()
        })?);
        if let Ok(mut cache) = self.catalogues.write() {
            cache.insert(catalogue.version.clone(), catalogue.clone());
        }
        Ok(catalogue)
    }
}

fn read(from: &pb::Catalogue) -> Option<Catalogue> {
    let mut families = HashMap::new();
    for family in &from.families {
        families.insert(family.family_code.clone(), read_family(family)?);
    }
    let mut terms = HashMap::new();
    for plan in &from.plans {
        let family = from
            .families
            .iter()
            .find(|family| family.family_code == plan.family_code)?;
        if let Some(read) = read_terms(plan, family) {
            terms.insert((plan.family_code.clone(), plan.plan_code.clone()), read);
        }
    }
    let mut profiles = HashMap::new();
    for profile in &from.profiles {
        let issuer = from
            .issuers
            .iter()
            .find(|issuer| issuer.issuer_code == profile.issuer_code)?;
        profiles.insert(profile.profile_code.clone(), read_profile(profile, issuer)?);
    }
    Some(Catalogue {
        version: from.version.clone(),
        families,
        terms,
        profiles,
    })
}

fn read_family(from: &pb::Family) -> Option<Family> {
    Some(Family {
        currency: from.currency_code.parse().ok()?,
        zone: Zone::parse(&from.time_zone).ok()?,
        in_arrears: from.billing_mode() == pb::family::BillingMode::Arrears,
        excluded_categories: from.excluded_categories.clone(),
        run_approval_required: from.run_approval_required,
    })
}

/// The terms of a plan; `None` where the price is an entitlement.
fn read_terms(from: &pb::Plan, family: &pb::Family) -> Option<Terms> {
    let currency = family.currency_code.parse().ok()?;
    let minor = |money: &proto::r#type::v1::Money| {
        Some(Money::parse(&money.amount, currency).ok()?.minor())
    };
    let charge = from.charge.as_ref()?;
    let charge = match charge.model() {
        pb::charge::Model::Unspecified => return None,
        pb::charge::Model::Free => Charge::Free,
        pb::charge::Model::Flat => Charge::Flat {
            minor: minor(charge.amount.as_ref()?)?,
        },
        pb::charge::Model::PercentWithMinimum => Charge::Percent {
            tiers: charge
                .tiers
                .iter()
                .map(|tier| read_tier(tier, currency))
                .collect::<Option<Vec<_>>>()?,
            minimum_minor: minor(charge.minimum.as_ref()?)?,
            maximum_minor: match &charge.maximum {
                Some(maximum) => Some(minor(maximum)?),
                None => None,
            },
        },
    };
    let rounding = match family.rounding() {
        pb::family::Rounding::HalfEven => Rounding::HalfEven,
        pb::family::Rounding::HalfUp | pb::family::Rounding::Unspecified => Rounding::HalfUp,
    };
    Some(Terms {
        plan_code: from.plan_code.clone(),
        catalogue_version: from.catalogue_version.clone(),
        rank: from.rank,
        currency,
        charge,
        rounding,
    })
}

fn read_tier(from: &pb::charge::Tier, currency: Currency) -> Option<Tier> {
    let up_to_micros = match &from.up_to {
        Some(bound) => Some(
            values::Amount::parse(&bound.amount, currency)
                .ok()?
                .micros(),
        ),
        None => None,
    };
    Some(Tier {
        up_to_micros,
        rate_bps: u32::try_from(from.rate_bps).ok()?,
    })
}

fn read_profile(from: &pb::Profile, issuer: &pb::Issuer) -> Option<Profile> {
    let kind = |name: &String| match name.as_str() {
        "TRIAL" => Some(LotKind::Trial),
        "PROMO" => Some(LotKind::Promo),
        "PAID" => Some(LotKind::Paid),
        _ => None,
    };
    Some(Profile {
        currency: from.currency_code.parse().ok()?,
        zone: Zone::parse(&from.time_zone).ok()?,
        families: from.family_codes.clone(),
        consume_order: from
            .consume_order
            .iter()
            .map(kind)
            .collect::<Option<Vec<_>>>()?,
        issuer: from.issuer_code.clone(),
        fiscal_year_start_month: u32::try_from(issuer.fiscal_year_start_month).ok()?,
    })
}
