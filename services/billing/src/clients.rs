//! Calls of `plan` and `payments`, and their answers in billing's words.

use std::collections::HashMap;
use std::sync::Arc;

use chassis::retried;
use chrono::{DateTime, NaiveDate, Utc};
use proto::payments::v1 as payments;
use proto::plan::v1 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, Amount, Currency, Money, Rounding, Zone};

use crate::ctx::Ctx;
use crate::domain::charge::{Charge, Terms, Tier};
use crate::domain::lots::LotKind;
use crate::domain::tax::TaxPolicy;
use crate::domain::unit_price::Rates;

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
    /// Prices of usage that comes without one.
    pub rates: Option<Rates>,
    /// Taxes by the customer's country; "" for every one without its own.
    pub taxes: HashMap<String, TaxPolicy>,
    /// Years for which the law asks for invoices.
    pub invoice_retention_years: i32,
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
    /// Days after the start of a cycle on which its renewal is tried again, rising.
    pub retry_days: Vec<u64>,
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
    /// The issuer as an invoice shows it.
    pub sender: Sender,
    /// Days that are no business days.
    pub holidays: Vec<NaiveDate>,
    /// Below it, in millionths, the customer is told.
    pub notify_below_micros: i64,
    /// Days without a paid plan after which paid credit expires (C-21); 0 for never.
    pub lapse_days: i64,
    /// Days after its issue until an invoice is due.
    pub net_days: u64,
    /// Days after it was due on which it is asked for again.
    pub reminder_days: Vec<u64>,
    /// Whether numbers cost rental while the account has no paid plan (C-22).
    pub charges_rental_when_limited: bool,
    /// Whether the first purchase forfeits trial credit (REQ-133).
    pub forfeits_trial: bool,
    /// What is given back of paid credit; `None` where nothing is.
    pub refund: Option<RefundPolicy>,
    /// How balances are filled by themselves; `None` where they are not.
    pub recharge: Option<RechargePolicy>,
}

/// Who sends an invoice.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its legal name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its tax number; empty for none.
    pub tax_id: String,
    /// Its state's code.
    pub state: String,
}

/// What is given back of paid credit (C-13).
#[derive(Debug, Clone)]
pub struct RefundPolicy {
    /// The part that is kept, in basis points.
    pub fee_bps: i64,
    /// Less than this is not refunded.
    pub minimum: Money,
    /// Business days until it is paid out.
    pub due_business_days: i32,
    /// Only what was paid in the last so many days; 0 for any time.
    pub window_days: i64,
    /// Whether the tax on it goes back too.
    pub with_tax: bool,
}

/// How balances are filled by themselves (C-28).
#[derive(Debug, Clone)]
pub struct RechargePolicy {
    /// Whether to a target; else by a sum.
    pub tops_up: bool,
    /// The threshold where none is given, in millionths.
    pub threshold_micros: i64,
    /// The least a threshold may be, in millionths.
    pub min_threshold_micros: i64,
    /// The target or the sum where none is given, in millionths.
    pub amount_micros: i64,
    /// Recharges in a month at most.
    pub max_per_month: Option<u32>,
    /// Whether invoiced accounts may have it.
    pub invoiced: bool,
    /// Countries whose cards may not be used for it.
    pub excluded_countries: Vec<String>,
}

impl Ctx {
    /// Asks for a charge; safe to repeat.
    pub async fn create_charge(
        &self,
        request: payments::CreateChargeRequest,
    ) -> Result<payments::Charge, Status> {
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.create_charge(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        answer.charge.ok_or_else(chassis::internal)
    }

    /// Asks for a refund; safe to repeat.
    pub async fn create_refund(
        &self,
        request: payments::CreateRefundRequest,
    ) -> Result<payments::Refund, Status> {
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.create_refund(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        answer.refund.ok_or_else(chassis::internal)
    }

    /// What is in force for an account at `at`; `None` where nothing is.
    pub async fn plan_at(
        &self,
        account: AccountId,
        family: &str,
        at: DateTime<Utc>,
    ) -> Result<Option<pb::Segment>, Status> {
        let request = pb::GetEffectivePlanRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
            effective_time: Some(chassis::wire::timestamp(at)),
        };
        let ask = || {
            let (mut client, request) = (self.plan.clone(), request.clone());
            async move { client.get_effective_plan(request).await }
        };
        match retried(ask).await {
            Ok(answer) => Ok(answer.into_inner().segment),
            Err(status) if is_over(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// The whole timeline of an account in a family.
    pub async fn timeline(
        &self,
        account: AccountId,
        family: &str,
    ) -> Result<Vec<pb::Segment>, Status> {
        let request = pb::ListSegmentsRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
        };
        let ask = || {
            let (mut client, request) = (self.plan.clone(), request.clone());
            async move { client.list_segments(request).await }
        };
        let answer = retried(ask).await?;
        Ok(answer.into_inner().segments)
    }

    /// What the plan in force at `at` has of a feature.
    pub async fn entitlement(
        &self,
        account: AccountId,
        feature: &str,
        at: DateTime<Utc>,
    ) -> Result<pb::CheckEntitlementResponse, Status> {
        let request = pb::CheckEntitlementRequest {
            account_id: account.to_string(),
            feature_code: feature.to_owned(),
            effective_time: Some(chassis::wire::timestamp(at)),
            ..pb::CheckEntitlementRequest::default()
        };
        let ask = || {
            let (mut client, request) = (self.plan.clone(), request.clone());
            async move { client.check_entitlement(request).await }
        };
        Ok(retried(ask).await?.into_inner())
    }

    /// Ends a subscription now; safe to repeat.
    pub async fn end_subscription(
        &self,
        account: AccountId,
        family: &str,
        request_id: Uuid,
    ) -> Result<(), Status> {
        let request = pb::EndSubscriptionRequest {
            account_id: account.to_string(),
            family_code: family.to_owned(),
            request_id: request_id.to_string(),
        };
        let ask = || {
            let (mut client, request) = (self.plan.clone(), request.clone());
            async move { client.end_subscription(request).await }
        };
        retried(ask).await.map(|_| ())
    }

    /// The payment methods of an account that can be charged, as many as a page holds.
    pub async fn payment_methods(
        &self,
        account_id: &str,
    ) -> Result<Vec<payments::PaymentMethod>, Status> {
        let request = payments::ListPaymentMethodsRequest {
            account_id: account_id.to_owned(),
            page_size: 500,
            ..payments::ListPaymentMethodsRequest::default()
        };
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.list_payment_methods(request).await }
        };
        Ok(retried(ask).await?.into_inner().payment_methods)
    }

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

/// Whether `plan` says that nothing is in force.
fn is_over(status: &Status) -> bool {
    let info = status.get_details_error_info();
    status.code() == Code::NotFound && info.is_some_and(|info| info.reason == "NO_PLAN_THEN")
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
    let rates = match &from.rates {
        Some(rates) => Some(read_rates(rates)?),
        None => None,
    };
    let taxes = from
        .taxes
        .iter()
        .map(|tax| (tax.country_code.clone(), read_tax(tax)));
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
        rates,
        taxes: taxes.collect(),
        invoice_retention_years: from.invoice_retention_years,
    })
}

fn read_rates(from: &pb::Rates) -> Option<Rates> {
    let currency: Currency = from.currency_code.parse().ok()?;
    Some(Rates {
        currency,
        pulse_seconds: i64::from(from.voice_pulse_seconds),
        per_pulse_micros: read_micros(from.voice_per_pulse.as_ref(), currency)?,
        per_part_micros: read_micros(from.sms_per_part.as_ref(), currency)?,
    })
}

fn read_tax(from: &pb::Tax) -> TaxPolicy {
    TaxPolicy {
        rate_bps: i64::from(from.rate_bps),
        same_state: from.same_state_codes.clone(),
        other_state: from.other_state_codes.clone(),
        export_bps: i64::from(from.export_bps),
    }
}

fn read_micros(from: Option<&proto::r#type::v1::Amount>, currency: Currency) -> Option<i64> {
    Some(Amount::parse(&from?.amount, currency).ok()?.micros())
}

fn read_family(from: &pb::Family) -> Option<Family> {
    Some(Family {
        currency: from.currency_code.parse().ok()?,
        zone: Zone::parse(&from.time_zone).ok()?,
        in_arrears: from.billing_mode() == pb::family::BillingMode::Arrears,
        excluded_categories: from.excluded_categories.clone(),
        run_approval_required: from.run_approval_required,
        retry_days: from
            .renewal_retry_days
            .iter()
            .map(|days| u64::try_from(*days).ok())
            .collect::<Option<Vec<_>>>()?,
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
        Some(bound) => Some(Amount::parse(&bound.amount, currency).ok()?.micros()),
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
    let currency = from.currency_code.parse().ok()?;
    let balance = from.balance.as_ref()?;
    let invoiced = from.invoiced.as_ref()?;
    let refund = match &from.refund {
        Some(it) => Some(RefundPolicy {
            fee_bps: i64::from(it.fee_bps),
            minimum: Money::parse(&it.minimum.as_ref()?.amount, currency).ok()?,
            due_business_days: it.due_business_days,
            window_days: i64::from(it.window_days),
            with_tax: it.tax_treatment_code == "PROPORTIONAL",
        }),
        None => None,
    };
    let recharge = match &from.auto_recharge {
        Some(it) => Some(RechargePolicy {
            tops_up: it.mode_code == "TOP_UP_TO",
            threshold_micros: read_micros(it.default_threshold.as_ref(), currency)?,
            min_threshold_micros: read_micros(it.min_threshold.as_ref(), currency)?,
            amount_micros: read_micros(it.default_amount.as_ref(), currency)?,
            max_per_month: u32::try_from(it.max_per_month).ok().filter(|max| 0 < *max),
            invoiced: it.invoiced,
            excluded_countries: it.no_recurring_card_countries.clone(),
        }),
        None => None,
    };
    Some(Profile {
        currency,
        zone: Zone::parse(&from.time_zone).ok()?,
        families: from.family_codes.clone(),
        consume_order: from
            .consume_order
            .iter()
            .map(kind)
            .collect::<Option<Vec<_>>>()?,
        issuer: from.issuer_code.clone(),
        fiscal_year_start_month: u32::try_from(issuer.fiscal_year_start_month).ok()?,
        sender: Sender {
            name: issuer.display_name.clone(),
            address: issuer.address.clone(),
            tax_id: issuer.tax_id.clone(),
            state: issuer.state_code.clone(),
        },
        holidays: issuer
            .holiday_dates
            .iter()
            .map(|day| day.parse().ok())
            .collect::<Option<Vec<_>>>()?,
        notify_below_micros: read_micros(balance.notify_below.as_ref(), currency)?,
        lapse_days: i64::from(balance.expire_when_not_paid_days),
        net_days: u64::try_from(invoiced.net_days).ok()?,
        reminder_days: invoiced
            .reminder_days
            .iter()
            .map(|days| u64::try_from(*days).ok())
            .collect::<Option<Vec<_>>>()?,
        charges_rental_when_limited: from.limited.as_ref().is_none_or(|it| it.charges_rental),
        forfeits_trial: balance.trial_on_upgrade_code == "FORFEIT",
        refund,
        recharge,
    })
}
