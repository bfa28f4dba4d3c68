//! What a catalogue version says, checked.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use values::{Amount, Currency, Money, Rounding, Zone};

use super::change::Rule;
use super::entitlement::Feature;

/// One version of the catalogue. A value of this type has passed every load-time check.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Its name.
    pub version: String,
    /// From when the document says it is meant.
    pub effective_at: DateTime<Utc>,
    /// The families by code.
    pub families: BTreeMap<String, Family>,
    /// The plans of every family, by family and rank.
    pub plans: Vec<Plan>,
    /// The features that plans give, by code.
    pub features: BTreeMap<String, Feature>,
    /// The account profiles by code.
    pub profiles: BTreeMap<String, Profile>,
    /// Who sends invoices, by code.
    pub issuers: BTreeMap<String, Issuer>,
    /// Years for which the law asks for invoices.
    pub invoice_retention_years: i32,
    /// Prices of usage that Perdiem rates.
    pub rates: Option<Rates>,
    /// Taxes by country.
    pub taxes: Vec<Tax>,
    /// What is asked to be known as a customer.
    pub kyc: Option<KycTerms>,
}

/// A family of plans and its policies.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the catalogue")]
pub struct Family {
    /// Its code.
    pub code: String,
    /// The currency of its prices.
    pub currency: Currency,
    /// The zone that makes its days.
    pub zone: Zone,
    /// Whether its plans are billed after the period; else before.
    pub in_arrears: bool,
    /// Usage left out of the percentage base (C-06).
    pub excluded_categories: Vec<String>,
    /// Whether a day's share is charged.
    pub prorated_daily: bool,
    /// How a line is rounded.
    pub rounding: Rounding,
    /// How long the scheduled run waits for late usage, in hours.
    pub usage_grace_hours: i32,
    /// Whether a run waits for approval.
    pub run_approval_required: bool,
    /// The plan every account starts on (REQ-002).
    pub default_plan: String,
    /// How a subscription is cancelled (C-03).
    pub cancel: Cancel,
    /// Confirmations an order needs (C-32).
    pub confirmations_required: i32,
    /// How long a quote lives, in minutes.
    pub quote_ttl_minutes: i32,
    /// What becomes of a change, first match wins (C-01).
    pub rules: Vec<Rule>,
    /// The billing cycles by code; empty for calendar months.
    pub cycles: BTreeMap<String, Cycle>,
    /// Days after a failed renewal on which it is tried again, rising (REQ-127).
    pub renewal_retry_days: Vec<i32>,
    /// Whether a pending change is replaced by the next one; else it stands in its way.
    pub pending_replaceable: bool,
    /// Whether a pending change can be withdrawn.
    pub pending_withdrawable: bool,
}

impl Family {
    /// Whether customers are offered a plan of it: one that is paid in advance begins with a default plan,
    /// to which nobody goes back.
    pub fn sells(&self, plan: &Plan) -> bool {
        plan.available && (self.in_arrears || plan.code != self.default_plan)
    }
}

/// How a subscription is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// By choosing the free plan (REQ-029).
    SelectFreePlan,
    /// At the end of the period (REQ-120).
    AtPeriodEnd,
}

/// A billing cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    /// Its length in months.
    pub months: u32,
    /// The discount on its price, in basis points.
    pub discount_bps: u32,
}

/// A plan.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the catalogue")]
pub struct Plan {
    /// Its family.
    pub family: String,
    /// Its code.
    pub code: String,
    /// Its place among the plans of the family, 0 the lowest.
    pub rank: i32,
    /// What a month costs; `None` where the price is the entitlement `monthly_minimum`.
    pub charge: Option<Charge>,
    /// The support channels.
    pub channels: Vec<String>,
    /// How soon a ticket of each priority is answered first.
    pub responses: Vec<Response>,
    /// Whether a customer may buy it.
    pub self_serve_purchase: bool,
    /// Whether a customer may leave it.
    pub self_serve_cancel: bool,
    /// The label of its buy action.
    pub action_label: String,
    /// Whether it is offered at all.
    pub available: bool,
    /// The value of each feature, by code.
    pub entitlements: BTreeMap<String, String>,
    /// What a month of each add-on costs that is sold beside it, by code (REQ-085).
    pub add_ons: BTreeMap<String, Money>,
    /// Whether it is had from sales only (REQ-094).
    pub quote_only: bool,
    /// Where that is.
    pub contact: String,
    /// The least credit of a first purchase (REQ-100).
    pub minimum_initial_credit: Option<Money>,
    /// What a month costs at least; `None` where nothing is paid in advance, or a contract says it.
    pub monthly_minimum: Option<Money>,
    /// The terms that a contract of it may have, in months.
    pub contract_terms_months: Vec<i32>,
    /// The trial that begins with it.
    pub trial: Option<TrialPolicy>,
}

/// What a month of a plan costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// Nothing.
    Free,
    /// The same each month.
    Flat(Money),
    /// A graduated percentage of usage within bounds (D10).
    Percent {
        /// The tiers, lowest first.
        tiers: Vec<Tier>,
        /// The least.
        minimum: Money,
        /// The most.
        maximum: Option<Money>,
    },
}

/// A tier of a percentage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Inclusive upper bound of usage; `None` for the last.
    pub up_to: Option<Amount>,
    /// Basis points.
    pub rate_bps: i32,
}

/// How soon a ticket is answered first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// P1, P2 or P3.
    pub priority: String,
    /// Minutes; 0 for no guarantee.
    pub minutes: i32,
    /// Whether they run around the clock.
    pub always: bool,
}

/// An account profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its code.
    pub code: String,
    /// The currency of its accounts' ledger.
    pub currency: Currency,
    /// The zone of its business days.
    pub zone: Zone,
    /// The families of its accounts.
    pub families: Vec<String>,
    /// The roles that a user may hold.
    pub roles: Vec<String>,
    /// Which roles may do what.
    pub permissions: BTreeMap<String, Vec<String>>,
    /// How many subaccounts a root may have; `None` for no bound.
    pub max_subaccounts: Option<i32>,
    /// The order in which lots are spent (C-14).
    pub consume_order: Vec<String>,
    /// The issuer of its invoices.
    pub issuer: String,
    /// How accounts pay that pay by invoice.
    pub invoiced: InvoicedPolicy,
    /// What becomes of balances.
    pub balance: BalancePolicy,
    /// What is given back of paid credit; `None` where nothing is.
    pub refund: Option<RefundPolicy>,
    /// How balances are filled by themselves; `None` where they are not.
    pub auto_recharge: Option<AutoRechargePolicy>,
    /// What a trial is; `None` where it has no end.
    pub trial: Option<TrialPolicy>,
    /// What needs an approved KYC, such as UPGRADE; none where none is required (C-19).
    pub kyc_gates: Vec<String>,
    /// Countries to which messages need a DLT registration (C-20).
    pub dlt_countries: Vec<String>,
    /// Self-checks before an upgrade: advice (REQ-079).
    pub checklist: Vec<String>,
    /// What a limited account may not do; `None` where nothing (C-22).
    pub limited: Option<LimitedPolicy>,
    /// How accounts are closed; `None` where operators only do.
    pub close: Option<ClosePolicy>,
    /// How accounts become dormant; `None` where they do not.
    pub soft_close: Option<SoftClosePolicy>,
}

/// What a trial is.
#[derive(Debug, Clone)]
pub struct TrialPolicy {
    /// Days until it ends.
    pub duration_days: i32,
    /// The credit that it begins with.
    pub credit: Amount,
    /// Numbers that it may call or text at most.
    pub max_whitelisted: i32,
    /// Numbers of its own at most; 0 where its plan says.
    pub max_numbers: i32,
}

/// What a limited account may not do.
#[derive(Debug, Clone)]
pub struct LimitedPolicy {
    /// The capabilities denied, such as `VOICE_OUT`.
    pub denied: Vec<String>,
    /// Days that its numbers are held.
    pub number_hold_days: i32,
    /// Whether they cost rental meanwhile.
    pub charges_rental: bool,
}

/// How accounts are closed.
#[derive(Debug, Clone)]
pub struct ClosePolicy {
    /// Whether only operators close an account that pays by invoice (C-11).
    pub invoiced_by_operator: bool,
    /// Suspensions during which only operators close it.
    pub blocked_suspension_reasons: Vec<String>,
    /// How old the proof of who the owner is may be, in minutes.
    pub reauth_max_age_minutes: i32,
    /// The options of a full account.
    pub full_options: Vec<String>,
    /// What whoever closes a trial acknowledges, all of it.
    pub trial_acknowledgements: Vec<String>,
    /// Days until its data are deleted.
    pub data_purge_days: i32,
}

/// How accounts become dormant (C-17).
#[derive(Debug, Clone)]
pub struct SoftClosePolicy {
    /// Kinds of resources that are released.
    pub release_kinds: Vec<String>,
    /// What is cancelled: SUBSCRIPTION, `SUPPORT_PLAN`.
    pub cancel_kinds: Vec<String>,
}

/// What is asked to be known as a customer.
#[derive(Debug, Clone)]
pub struct KycTerms {
    /// Business days until it is reviewed.
    pub review_business_days: i32,
    /// The documents of a business in India.
    pub documents_in: Vec<String>,
    /// The documents of any other.
    pub documents_elsewhere: Vec<String>,
    /// Types of files that are taken.
    pub file_types: Vec<String>,
    /// How large a file may be.
    pub max_bytes: i64,
}

/// How accounts pay that pay by invoice.
#[derive(Debug, Clone)]
pub struct InvoicedPolicy {
    /// Days after its issue until an invoice is due.
    pub net_days: i32,
    /// Days after it was due on which it is asked for again.
    pub reminder_days: Vec<i32>,
}

/// What becomes of balances.
#[derive(Debug, Clone)]
pub struct BalancePolicy {
    /// Below it the customer is told.
    pub notify_below: Amount,
    /// `SUSPEND` or `BLOCK_OUTBOUND`, when a balance is empty (REQ-132).
    pub at_zero: String,
    /// FORFEIT or KEEP, for trial credit at the first purchase (REQ-133).
    pub trial_on_upgrade: String,
    /// Days without a paid plan after which paid credit expires; 0 for never (C-21).
    pub expire_when_not_paid_days: i32,
    /// Days with an empty balance after which numbers are released; 0 for never.
    pub numbers_at_risk_after_days: i32,
}

/// What is given back of paid credit (C-13, C-15).
#[derive(Debug, Clone)]
pub struct RefundPolicy {
    /// The part that is kept, in basis points.
    pub fee_bps: i32,
    /// Less than this is not refunded.
    pub minimum: Money,
    /// Business days until it is paid out.
    pub due_business_days: i32,
    /// Only what was paid in the last so many days; 0 for any time.
    pub window_days: i32,
    /// EXCLUDE or PROPORTIONAL: whether the tax on it goes back too.
    pub tax_treatment: String,
}

/// How balances are filled by themselves (C-28).
#[derive(Debug, Clone)]
pub struct AutoRechargePolicy {
    /// `TOP_UP_TO` or `ADD_AMOUNT`.
    pub mode: String,
    /// The threshold where none is given.
    pub default_threshold: Amount,
    /// The least a threshold may be.
    pub min_threshold: Amount,
    /// The target or the sum of a charge where none is given.
    pub default_amount: Amount,
    /// Recharges in a month at most; 0 for any number.
    pub max_per_month: i32,
    /// Whether invoiced accounts may have it.
    pub invoiced: bool,
    /// Countries whose cards may not be used for it.
    pub no_recurring_card_countries: Vec<String>,
}

/// Prices of usage that Perdiem rates (REQ-101).
#[derive(Debug, Clone)]
pub struct Rates {
    /// How many seconds a pulse of a call has.
    pub voice_pulse_seconds: i32,
    /// The price of a pulse.
    pub voice_per_pulse: Amount,
    /// The price of a part of a message.
    pub sms_per_part: Amount,
    /// What numbers cost a month, by their kind.
    pub number_rentals: BTreeMap<String, Money>,
}

/// The tax of a country.
#[derive(Debug, Clone)]
pub struct Tax {
    /// The customer's country; empty for every one without its own.
    pub country: String,
    /// Its rate in basis points, on top of the price.
    pub rate_bps: i32,
    /// Its parts where customer and issuer are in one state.
    pub same_state: Vec<String>,
    /// Its part where they are not.
    pub other_state: Vec<String>,
    /// Its rate for exports, in basis points.
    pub export_bps: i32,
}

/// Who sends invoices.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its code.
    pub code: String,
    /// Its legal name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its tax number; empty for none.
    pub tax_id: String,
    /// Its country, ISO 3166-1.
    pub country: String,
    /// Its state's code.
    pub state: String,
    /// The month in which its fiscal year starts, 1 to 12.
    pub fiscal_year_start_month: i32,
    /// Days in its country that are no business days.
    pub holidays: Vec<NaiveDate>,
}

impl Catalogue {
    /// The plan `code` of `family`.
    pub fn plan(&self, family: &str, code: &str) -> Option<&Plan> {
        self.plans
            .iter()
            .find(|plan| plan.family == family && plan.code == code)
    }

    /// The cycle `code` of `family`.
    pub fn cycle(&self, family: &str, code: &str) -> Option<Cycle> {
        self.families.get(family)?.cycles.get(code).copied()
    }

    /// The plans of `family`, lowest rank first.
    pub fn plans_of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a Plan> {
        self.plans.iter().filter(move |plan| plan.family == family)
    }
}
