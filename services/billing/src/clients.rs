//! Calls of `plan` and `payments`, with answers translated to billing's types.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chassis::{Clock, retried};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use proto::payments::v1 as payments;
use proto::plan::v1 as pb;
use tonic::Status;
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, Amount, ChargeId, Currency, Money, RefundId, Rounding, Zone};

use crate::ctx::Ctx;
use crate::domain::charge::{Charge, Terms, Tier};
use crate::domain::lots::LotKind;
use crate::domain::tax::TaxPolicy;
use crate::domain::unit_price::Rates;

/// Page size of lists read from other services.
const PAGE: i32 = 500;

/// For how long the version that was in force is taken to be still.
const FRESH: Duration = Duration::from_secs(1);

/// A catalogue version, as far as billing needs it.
#[derive(Debug)]
pub struct Catalogue {
    /// Its version name.
    pub version: String,
    /// The families by code.
    pub families: HashMap<String, Family>,
    /// The terms of plans by family and plan.
    pub terms: HashMap<(String, String), Terms>,
    /// The profiles by code.
    pub profiles: HashMap<String, Profile>,
    /// Unit prices of usage sent without a price; `None` if the catalogue has none.
    pub rates: Option<Rates>,
    /// Taxes by the customer's country; "" for countries without their own.
    pub taxes: HashMap<String, TaxPolicy>,
    /// Years for which the law requires invoices to be kept.
    pub invoice_retention_years: i32,
}

impl Catalogue {
    /// The time zone of a profile's usage days and months: that of its families billed by runs, which the catalogue
    /// requires to be one zone (D18); the profile's own if it has none.
    pub fn usage_zone(&self, profile: &Profile) -> Zone {
        let families = profile.families.iter();
        let mut billed = families
            .filter_map(|code| self.families.get(code))
            .filter(|family| family.in_arrears);
        billed.next().map_or(profile.zone, |family| family.zone)
    }

    /// The codes of the profiles that offer a family.
    pub fn profiles_of(&self, family: &str) -> Vec<String> {
        let profiles = self.profiles.iter();
        let having = profiles.filter(|(_, it)| it.families.iter().any(|code| code == family));
        having.map(|(code, _)| code.clone()).collect()
    }
}

/// The policies of a plan family.
#[derive(Debug, Clone)]
pub struct Family {
    /// The currency of its prices.
    pub currency: Currency,
    /// The time zone in which its days are computed.
    pub zone: Zone,
    /// Whether its plans are billed in arrears, by runs.
    pub in_arrears: bool,
    /// Usage categories left out of the percentage base.
    pub excluded_categories: Vec<String>,
    /// How long the scheduled run waits for late usage.
    pub usage_grace: TimeDelta,
    /// Whether a job creates its runs; otherwise operators do.
    pub runs_automatically: bool,
    /// Whether a run waits for approval before it settles.
    pub run_approval_required: bool,
    /// Days after the start of a cycle on which its renewal is retried, ascending.
    pub retry_days: Vec<u64>,
}

/// The policies of a profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The currency of its ledger.
    pub currency: Currency,
    /// The time zone of its days.
    pub zone: Zone,
    /// Its families.
    pub families: Vec<String>,
    /// The order in which kinds of credit are spent.
    pub consume_order: Vec<LotKind>,
    /// The issuer of its invoices.
    pub issuer: String,
    /// What the issuer's invoice numbers start with; empty for the issuer's code.
    pub number_prefix: String,
    /// The month in which the issuer's fiscal year starts, 1 to 12.
    pub fiscal_year_start_month: u32,
    /// The issuer as shown on invoices.
    pub sender: Sender,
    /// Public holidays, which are not business days.
    pub holidays: Vec<NaiveDate>,
    /// Balance in millionths below which the customer is notified.
    pub notify_below_micros: i64,
    /// Days without a paid plan after which paid credit expires (C-21); 0 for never.
    pub lapse_days: i64,
    /// Payment term of invoices, in days after issue.
    pub net_days: u64,
    /// Days after the due date on which an unpaid invoice is charged again.
    pub reminder_days: Vec<u64>,
    /// Whether rentals are charged while the account has no paid plan (C-22).
    pub charges_rental_when_limited: bool,
    /// Whether the first purchase forfeits trial credit (REQ-133).
    pub forfeits_trial: bool,
    /// Refund policy of paid credit; `None` if there are no refunds.
    pub refund: Option<RefundPolicy>,
    /// Auto-recharge policy; `None` if it is not offered.
    pub recharge: Option<RechargePolicy>,
}

/// The sender of an invoice.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its legal name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its tax id; empty if none.
    pub tax_id: String,
    /// ISO 3166-1 alpha-2 code of its country.
    pub country: String,
    /// Its state's code.
    pub state_code: String,
    /// What a tax id is called in its country.
    pub tax_id_label: String,
    /// Title of its invoices.
    pub invoice_title: String,
    /// What its documents say about reverse charge; empty for nothing.
    pub reverse_charge_note: String,
    /// What its documents say if the supply is an export; empty for nothing.
    pub export_statement: String,
    /// What its documents say in place of a signature; empty for nothing.
    pub signature_note: String,
}

/// Refund policy of paid credit (C-13).
#[derive(Debug, Clone)]
pub struct RefundPolicy {
    /// The fee withheld, in basis points.
    pub fee_bps: i64,
    /// Smallest amount that is paid out.
    pub minimum: Money,
    /// Business days until the payout is due.
    pub due_business_days: i32,
    /// Age limit of refundable payments in days; 0 for none.
    pub window_days: i64,
    /// Whether the proportional tax is refunded too.
    pub with_tax: bool,
}

/// Auto-recharge policy (C-28).
#[derive(Debug, Clone)]
pub struct RechargePolicy {
    /// Whether it tops up to a target; otherwise it adds a fixed amount.
    pub tops_up: bool,
    /// Default threshold in millionths.
    pub threshold_micros: i64,
    /// Smallest threshold in millionths.
    pub min_threshold_micros: i64,
    /// Default target or fixed amount in millionths.
    pub amount_micros: i64,
    /// Default for the largest amount of one charge, in millionths.
    pub maximum_micros: i64,
    /// Pause after several charges within an hour.
    pub pause: TimeDelta,
    /// Most recharges in a month; `None` if unlimited.
    pub max_per_month: Option<u32>,
    /// Whether accounts that pay by invoice may have it.
    pub invoiced: bool,
    /// Countries whose cards are excluded.
    pub excluded_countries: Vec<String>,
}

impl Ctx {
    /// Requests a charge. Safe to repeat.
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

    /// Stops waiting for an offline charge. Safe to repeat.
    pub async fn cancel_charge(
        &self,
        request: payments::CancelChargeRequest,
    ) -> Result<payments::Charge, Status> {
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.cancel_charge(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        answer.charge.ok_or_else(chassis::internal)
    }

    /// Requests a refund. Safe to repeat.
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

    /// The current state of a charge of a root account.
    pub async fn charge(&self, root: AccountId, id: ChargeId) -> Result<payments::Charge, Status> {
        let request = payments::GetChargeRequest {
            account_id: root.to_string(),
            charge_id: id.to_string(),
        };
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.get_charge(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        answer.charge.ok_or_else(chassis::internal)
    }

    /// A page of the charges created in a time range, of one root account or of all, with the token of the next page.
    pub async fn charges(
        &self,
        root: Option<Uuid>,
        (from, until): (DateTime<Utc>, DateTime<Utc>),
        page_token: String,
    ) -> Result<(Vec<payments::Charge>, String), Status> {
        let account = root.map(|root| AccountId::from_uuid(root).to_string());
        let request = payments::ListChargesRequest {
            account_id: account.unwrap_or_default(),
            page_size: PAGE,
            page_token,
            start_time: Some(chassis::wire::timestamp(from)),
            end_time: Some(chassis::wire::timestamp(until)),
            ..payments::ListChargesRequest::default()
        };
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.list_charges(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        Ok((answer.charges, answer.next_page_token))
    }

    /// A page of the refunds created in a time range, of one root account or of all, with the token of the next page.
    pub async fn refunds(
        &self,
        root: Option<Uuid>,
        (from, until): (DateTime<Utc>, DateTime<Utc>),
        page_token: String,
    ) -> Result<(Vec<payments::Refund>, String), Status> {
        let account = root.map(|root| AccountId::from_uuid(root).to_string());
        let request = payments::ListRefundsRequest {
            account_id: account.unwrap_or_default(),
            page_size: PAGE,
            page_token,
            start_time: Some(chassis::wire::timestamp(from)),
            end_time: Some(chassis::wire::timestamp(until)),
            ..payments::ListRefundsRequest::default()
        };
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.list_refunds(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        Ok((answer.refunds, answer.next_page_token))
    }

    /// The current state of a refund of a root account.
    pub async fn refund(&self, root: AccountId, id: RefundId) -> Result<payments::Refund, Status> {
        let request = payments::GetRefundRequest {
            account_id: root.to_string(),
            refund_id: id.to_string(),
        };
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.get_refund(request).await }
        };
        let answer = retried(ask).await?.into_inner();
        answer.refund.ok_or_else(chassis::internal)
    }

    /// The current state of a dispute of a root account; `None` if `payments` does not know its id.
    pub async fn dispute(
        &self,
        root: AccountId,
        id: &str,
    ) -> Result<Option<payments::Dispute>, Status> {
        let mut page_token = String::new();
        loop {
            let request = payments::ListDisputesRequest {
                account_id: root.to_string(),
                page_size: PAGE,
                page_token,
                ..payments::ListDisputesRequest::default()
            };
            let ask = || {
                let (mut client, request) = (self.payments.clone(), request.clone());
                async move { client.list_disputes(request).await }
            };
            let answer = retried(ask).await?.into_inner();
            let mut disputes = answer.disputes.into_iter();
            let found = disputes.find(|it| it.dispute_id == id);
            if found.is_some() || answer.next_page_token.is_empty() {
                return Ok(found);
            }
            page_token = answer.next_page_token;
        }
    }

    /// The segment in force for an account at `at`; `None` if there is none.
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

    /// The entitlement to a feature under the plan in force at `at`.
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

    /// Ends a subscription now. Safe to repeat.
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

    /// The kinds of payment method with which an account may buy credit off-session, each with the account's own
    /// methods.
    pub async fn methods_for_credit(
        &self,
        account_id: &str,
    ) -> Result<Vec<payments::EligibleMethod>, Status> {
        let request = payments::ListEligibleMethodsRequest {
            account_id: account_id.to_owned(),
            purpose: payments::Purpose::Credits.into(),
            unattended: true,
            ..payments::ListEligibleMethodsRequest::default()
        };
        let ask = || {
            let (mut client, request) = (self.payments.clone(), request.clone());
            async move { client.list_eligible_methods(request).await }
        };
        Ok(retried(ask).await?.into_inner().eligible_methods)
    }

    /// The usable payment methods of an account, at most one page of them.
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

    /// The catalogue version in force for new purchases, as it was within the last second. Where a test clock stands it
    /// is asked for each time.
    pub async fn active_catalogue(&self) -> Result<Arc<Catalogue>, Status> {
        let kept = self.in_force.read().ok().and_then(|kept| kept.clone());
        if let Some((at, catalogue)) = kept
            && at.elapsed() < FRESH
            && !matches!(self.clock, Clock::Standing { .. })
        {
            return Ok(catalogue);
        }
        let asked_at = Instant::now();
        let catalogue = self.fetch("").await?;
        if let Ok(mut kept) = self.in_force.write() {
            *kept = Some((asked_at, catalogue.clone()));
        }
        Ok(catalogue)
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
            tracing::error!(version, "the catalogue returned by plan can't be parsed");
            chassis::internal()
        })?);
        if let Ok(mut cache) = self.catalogues.write() {
            cache.insert(catalogue.version.clone(), catalogue.clone());
        }
        Ok(catalogue)
    }
}

/// Whether `plan` reports that no plan is in force.
fn is_over(status: &Status) -> bool {
    let over = ["NO_PLAN_THEN", "ACCOUNT_CLOSED"];
    let info = status.get_details_error_info();
    info.is_some_and(|info| over.contains(&info.reason.as_str()))
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
        line_codes: from
            .line_codes
            .iter()
            .map(|it| (it.kind_code.clone(), it.hsn_sac_code.clone()))
            .collect(),
        states: from
            .states
            .iter()
            .map(|it| (it.state_code.clone(), it.display_name.clone()))
            .collect(),
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
        usage_grace: TimeDelta::try_hours(i64::from(from.usage_grace_hours))?,
        runs_automatically: from.run_schedule() == pb::family::RunSchedule::Automatic,
        run_approval_required: from.run_approval_required,
        retry_days: from
            .renewal_retry_days
            .iter()
            .map(|days| u64::try_from(*days).ok())
            .collect::<Option<Vec<_>>>()?,
    })
}

/// The terms of a plan; `None` if it has no monthly charge.
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

/// A text, or another if it is empty.
fn or_else(text: &str, other: &str) -> String {
    if text.is_empty() { other } else { text }.to_owned()
}

fn read_sender(issuer: &pb::Issuer) -> Sender {
    Sender {
        name: issuer.display_name.clone(),
        address: issuer.address.clone(),
        tax_id: issuer.tax_id.clone(),
        country: issuer.country_code.clone(),
        state_code: issuer.state_code.clone(),
        tax_id_label: or_else(&issuer.tax_id_label, "Tax ID"),
        invoice_title: or_else(&issuer.invoice_title, "Invoice"),
        reverse_charge_note: issuer.reverse_charge_note.clone(),
        export_statement: issuer.export_statement.clone(),
        signature_note: issuer.signature_note.clone(),
    }
}

/// Whether a code is `yes`; `None` if it is neither `yes` nor `no`.
fn either(code: &str, yes: &str, no: &str) -> Option<bool> {
    (code == yes || code == no).then_some(code == yes)
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
            with_tax: either(&it.tax_treatment_code, "PROPORTIONAL", "EXCLUDE")?,
        }),
        None => None,
    };
    let recharge = match &from.auto_recharge {
        Some(it) => Some(RechargePolicy {
            tops_up: either(&it.mode_code, "TOP_UP_TO", "ADD_AMOUNT")?,
            threshold_micros: read_micros(it.default_threshold.as_ref(), currency)?,
            min_threshold_micros: read_micros(it.min_threshold.as_ref(), currency)?,
            amount_micros: read_micros(it.default_amount.as_ref(), currency)?,
            maximum_micros: read_micros(it.default_maximum.as_ref(), currency)?,
            pause: TimeDelta::try_minutes(i64::from(it.pause_minutes))?,
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
        number_prefix: issuer.number_prefix.clone(),
        fiscal_year_start_month: u32::try_from(issuer.fiscal_year_start_month).ok()?,
        sender: read_sender(issuer),
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
        forfeits_trial: either(&balance.trial_on_upgrade_code, "FORFEIT", "KEEP")?,
        refund,
        recharge,
    })
}
