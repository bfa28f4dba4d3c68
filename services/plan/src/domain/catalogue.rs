//! A checked catalogue version.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use values::{Amount, Currency, Money, Rounding, Zone};

use super::change::Rule;
use super::entitlement::Feature;

/// A catalogue version. A value of this type has passed every check of the import.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Version name.
    pub version: String,
    /// Effective time stated by the document.
    pub effective_at: DateTime<Utc>,
    /// Plan families, by code.
    pub families: BTreeMap<String, Family>,
    /// Plans of every family, by family and rank.
    pub plans: Vec<Plan>,
    /// Features (entitlement types), by code.
    pub features: BTreeMap<String, Feature>,
    /// Account profiles, by code.
    pub profiles: BTreeMap<String, Profile>,
    /// Invoice issuers, by code.
    pub issuers: BTreeMap<String, Issuer>,
    /// Years for which invoices must be kept by law.
    pub invoice_retention_years: i32,
    /// Usage prices, if Perdiem rates usage.
    pub rates: Option<Rates>,
    /// Taxes by country.
    pub taxes: Vec<Tax>,
    /// KYC requirements.
    pub kyc: Option<KycTerms>,
    /// Business hours for first responses.
    pub support_hours: Option<SupportHours>,
    /// Ticket priorities, by code.
    pub priorities: Vec<Priority>,
}

/// The business hours of support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportHours {
    /// Days of the week, such as `MON-FRI`.
    pub days: String,
    /// Opening time, such as `06:00`.
    pub opens: String,
    /// Closing time.
    pub closes: String,
    /// Time zone of both.
    pub zone: Zone,
}

/// A ticket priority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Priority {
    /// `P1`, `P2` or `P3`.
    pub code: String,
    /// Description.
    pub name: String,
    /// Whether it applies only to production systems.
    pub production_only: bool,
}

/// A plan family and its policies.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the catalogue")]
pub struct Family {
    /// Family code.
    pub code: String,
    /// Currency of its prices.
    pub currency: Currency,
    /// Time zone that defines its days.
    pub zone: Zone,
    /// Whether its plans are billed in arrears; otherwise in advance.
    pub in_arrears: bool,
    /// Usage categories excluded from the percentage base (C-06).
    pub excluded_categories: Vec<String>,
    /// Whether charges are prorated by day.
    pub prorated_daily: bool,
    /// Rounding mode of invoice lines.
    pub rounding: Rounding,
    /// Hours for which a scheduled billing run waits for late usage.
    pub usage_grace_hours: i32,
    /// Whether billing runs are scheduled automatically (D30).
    pub runs_automatically: bool,
    /// Whether a billing run requires approval.
    pub run_approval_required: bool,
    /// Plan on which every account starts (REQ-002).
    pub default_plan: String,
    /// How a subscription is cancelled (C-03).
    pub cancel: Cancel,
    /// Confirmations that an order requires (C-32).
    pub confirmations_required: i32,
    /// Validity of a quote, in minutes.
    pub quote_ttl_minutes: i32,
    /// Change rules; the first match decides (C-01).
    pub rules: Vec<Rule>,
    /// Billing cycles by code; empty for calendar months.
    pub cycles: BTreeMap<String, Cycle>,
    /// Days after a failed renewal on which it is retried, ascending (REQ-127).
    pub renewal_retry_days: Vec<i32>,
    /// Whether a new change replaces a pending one; otherwise it is refused.
    pub pending_replaceable: bool,
    /// Whether a pending change can be withdrawn.
    pub pending_withdrawable: bool,
}

impl Family {
    /// Whether a plan is sold to customers. In a family that is paid in advance, the default plan is only a starting
    /// point and is not sold.
    pub fn sells(&self, plan: &Plan) -> bool {
        plan.available && (self.in_arrears || plan.code != self.default_plan)
    }
}

/// How a subscription is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// By changing to the free plan (REQ-029).
    SelectFreePlan,
    /// At the end of the billing cycle (REQ-120).
    AtPeriodEnd,
}

/// A billing cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cycle {
    /// Length in months.
    pub months: u32,
    /// Discount in basis points.
    pub discount_bps: u32,
}

/// A plan.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the catalogue")]
pub struct Plan {
    /// Family code.
    pub family: String,
    /// Plan code.
    pub code: String,
    /// Rank within the family; 0 is the lowest.
    pub rank: i32,
    /// Monthly charge; `None` if the price is the entitlement `monthly_minimum`.
    pub charge: Option<Charge>,
    /// Support channels.
    pub channels: Vec<String>,
    /// First-response targets by priority.
    pub responses: Vec<Response>,
    /// Whether a customer may buy it.
    pub self_serve_purchase: bool,
    /// Whether a customer may leave it.
    pub self_serve_cancel: bool,
    /// Label of the buy button.
    pub action_label: String,
    /// Whether it is offered at all.
    pub available: bool,
    /// Whether a technical account manager is included.
    pub account_manager: bool,
    /// Feature values, by feature code.
    pub entitlements: BTreeMap<String, String>,
    /// Monthly prices of the add-ons sold with it, by code (REQ-085).
    pub add_ons: BTreeMap<String, Money>,
    /// Whether it is sold only by quote (REQ-094).
    pub quote_only: bool,
    /// Sales contact of a quote-only plan.
    pub contact: String,
    /// Minimum credit of the first purchase (REQ-100).
    pub minimum_initial_credit: Option<Money>,
    /// Monthly minimum; `None` for a plan that is not paid in advance, or if a contract sets it.
    pub monthly_minimum: Option<Money>,
    /// Possible contract terms, in months.
    pub contract_terms_months: Vec<i32>,
    /// Trial that starts with this plan.
    pub trial: Option<TrialPolicy>,
}

/// The monthly charge of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// No charge.
    Free,
    /// A fixed amount.
    Flat(Money),
    /// A graduated percentage of usage with a minimum and an optional maximum (D10).
    Percent {
        /// Tiers, lowest first.
        tiers: Vec<Tier>,
        /// Minimum charge.
        minimum: Money,
        /// Maximum charge; `None` for no limit.
        maximum: Option<Money>,
    },
}

/// A tier of a percentage charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    /// Inclusive upper bound of usage; `None` for the last tier.
    pub up_to: Option<Amount>,
    /// Rate in basis points.
    pub rate_bps: i32,
}

/// A first-response target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// `P1`, `P2` or `P3`.
    pub priority: String,
    /// Minutes; 0 without a guarantee.
    pub minutes: i32,
    /// Whether the minutes count around the clock.
    pub always: bool,
}

/// An account profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Profile code.
    pub code: String,
    /// Currency of its accounts' ledgers.
    pub currency: Currency,
    /// Time zone of its business days.
    pub zone: Zone,
    /// Families available to its accounts.
    pub families: Vec<String>,
    /// Roles that a user may hold, the owner's first.
    pub roles: Vec<String>,
    /// Roles by the action that they permit.
    pub permissions: BTreeMap<String, Vec<String>>,
    /// Maximum of subaccounts per root account; `None` for no limit.
    pub max_subaccounts: Option<i32>,
    /// Maximum of trial accounts per user.
    pub max_trial_accounts: i32,
    /// Maximum of resources per account.
    pub max_resources: i32,
    /// Order in which credit lots are consumed (C-14).
    pub consume_order: Vec<String>,
    /// Issuer of its invoices.
    pub issuer: String,
    /// Rules for accounts that pay by invoice.
    pub invoiced: InvoicedPolicy,
    /// Rules for balances.
    pub balance: BalancePolicy,
    /// Rules for refunds of paid credit; `None` if there are no refunds.
    pub refund: Option<RefundPolicy>,
    /// Rules for auto-recharge; `None` if it is not offered.
    pub auto_recharge: Option<AutoRechargePolicy>,
    /// Trial terms; `None` if a trial does not end.
    pub trial: Option<TrialPolicy>,
    /// Capabilities that require an approved KYC, such as `UPGRADE`; empty if none do (C-19).
    pub kyc_gates: Vec<String>,
    /// Countries in which messages require a DLT registration (C-20).
    pub dlt_countries: Vec<String>,
    /// Checklist codes before an upgrade, which are advisory (REQ-079).
    pub checklist: Vec<String>,
    /// Restrictions of a limited account; `None` if there are none (C-22).
    pub limited: Option<LimitedPolicy>,
    /// Rules for closing; `None` if only operators close accounts.
    pub close: Option<ClosePolicy>,
    /// Rules for soft closing; `None` if accounts can't become dormant.
    pub soft_close: Option<SoftClosePolicy>,
}

/// The terms of a trial.
#[derive(Debug, Clone)]
pub struct TrialPolicy {
    /// Length in days.
    pub duration_days: i32,
    /// Credit granted at its start.
    pub credit: Amount,
    /// Maximum of whitelisted numbers.
    pub max_whitelisted: i32,
    /// Maximum of numbers of its own; 0 if its plan decides.
    pub max_numbers: i32,
}

/// The restrictions of a limited account.
#[derive(Debug, Clone)]
pub struct LimitedPolicy {
    /// Denied capabilities, such as `VOICE_OUT`.
    pub denied: Vec<String>,
    /// Days for which its numbers are kept.
    pub number_hold_days: i32,
    /// Whether rental is charged in the meantime.
    pub charges_rental: bool,
}

/// The rules for closing an account.
#[derive(Debug, Clone)]
pub struct ClosePolicy {
    /// Whether only operators close an account that pays by invoice (C-11).
    pub invoiced_by_operator: bool,
    /// Suspension reasons under which only operators may close the account.
    pub blocked_suspension_reasons: Vec<String>,
    /// Maximum age of the owner's authentication, in minutes.
    pub reauth_max_age_minutes: i32,
    /// Close options of a full account.
    pub full_options: Vec<String>,
    /// Acknowledgements required to close a trial.
    pub trial_acknowledgements: Vec<String>,
    /// Days until the account's data is deleted.
    pub data_purge_days: i32,
}

/// The rules for making an account dormant (C-17).
#[derive(Debug, Clone)]
pub struct SoftClosePolicy {
    /// Kinds of resources that are released.
    pub release_kinds: Vec<String>,
    /// Kinds of plans that are cancelled: `SUBSCRIPTION`, `SUPPORT_PLAN`.
    pub cancel_kinds: Vec<String>,
}

/// The KYC requirements.
#[derive(Debug, Clone)]
pub struct KycTerms {
    /// Business days within which a submission is reviewed.
    pub review_business_days: i32,
    /// Documents required from a business in India.
    pub documents_in: Vec<String>,
    /// Documents required from any other business.
    pub documents_elsewhere: Vec<String>,
    /// Accepted file types.
    pub file_types: Vec<String>,
    /// Maximum file size, in bytes.
    pub max_bytes: i64,
}

/// The rules for accounts that pay by invoice.
#[derive(Debug, Clone)]
pub struct InvoicedPolicy {
    /// Days from issue to the due date.
    pub net_days: i32,
    /// Days after the due date on which a reminder is sent.
    pub reminder_days: Vec<i32>,
}

/// What an empty balance causes (REQ-132).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtZero {
    /// The account is suspended.
    Suspend,
    /// Outbound usage is blocked.
    BlockOutbound,
}

impl AtZero {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Suspend, Self::BlockOutbound];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Suspend => "SUSPEND",
            Self::BlockOutbound => "BLOCK_OUTBOUND",
        }
    }
}

/// What happens to trial credit at the first purchase (REQ-133).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrialOnUpgrade {
    /// It is forfeited.
    Forfeit,
    /// It is kept.
    Keep,
}

impl TrialOnUpgrade {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Forfeit, Self::Keep];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forfeit => "FORFEIT",
            Self::Keep => "KEEP",
        }
    }
}

/// The rules for balances.
#[derive(Debug, Clone)]
pub struct BalancePolicy {
    /// Balance below which the customer is notified.
    pub notify_below: Amount,
    /// What an empty balance causes (REQ-132).
    pub at_zero: AtZero,
    /// What happens to trial credit at the first purchase (REQ-133).
    pub trial_on_upgrade: TrialOnUpgrade,
    /// Days without a paid plan after which paid credit expires; 0 for never (C-21).
    pub expire_when_not_paid_days: i32,
    /// Days with an empty balance after which numbers are released; 0 for never.
    pub numbers_at_risk_after_days: i32,
}

/// Whether tax is refunded too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaxTreatment {
    /// Only the net amount is refunded.
    Exclude,
    /// Tax is refunded in proportion.
    Proportional,
}

impl TaxTreatment {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Exclude, Self::Proportional];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exclude => "EXCLUDE",
            Self::Proportional => "PROPORTIONAL",
        }
    }
}

/// The rules for refunds of paid credit (C-13, C-15).
#[derive(Debug, Clone)]
pub struct RefundPolicy {
    /// Fee in basis points.
    pub fee_bps: i32,
    /// Minimum refund.
    pub minimum: Money,
    /// Business days within which it is paid out.
    pub due_business_days: i32,
    /// Payments older than this many days are not refunded; 0 for no limit.
    pub window_days: i32,
    /// Whether tax is refunded too.
    pub tax_treatment: TaxTreatment,
}

/// What an auto-recharge adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RechargeMode {
    /// What the balance lacks of a target.
    TopUpTo,
    /// A fixed amount.
    AddAmount,
}

impl RechargeMode {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::TopUpTo, Self::AddAmount];

    /// Name in the catalogue.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TopUpTo => "TOP_UP_TO",
            Self::AddAmount => "ADD_AMOUNT",
        }
    }
}

/// The rules for auto-recharge (C-28).
#[derive(Debug, Clone)]
pub struct AutoRechargePolicy {
    /// What a charge adds.
    pub mode: RechargeMode,
    /// Default threshold.
    pub default_threshold: Amount,
    /// Minimum threshold.
    pub min_threshold: Amount,
    /// Default target balance or amount per charge, depending on the mode.
    pub default_amount: Amount,
    /// Default maximum that one charge adds.
    pub default_maximum: Amount,
    /// Minutes for which it pauses after three charges within an hour.
    pub pause_minutes: i32,
    /// Maximum of recharges per month; 0 for no limit.
    pub max_per_month: i32,
    /// Whether accounts that pay by invoice may use it.
    pub invoiced: bool,
    /// Countries whose cards can't be used for it.
    pub no_recurring_card_countries: Vec<String>,
}

/// Usage prices (REQ-101).
#[derive(Debug, Clone)]
pub struct Rates {
    /// Length of a voice pulse, in seconds.
    pub voice_pulse_seconds: i32,
    /// Price per voice pulse.
    pub voice_per_pulse: Amount,
    /// Price per message part.
    pub sms_per_part: Amount,
    /// Monthly rental of numbers, by number type.
    pub number_rentals: BTreeMap<String, Money>,
}

/// The tax of a country.
#[derive(Debug, Clone)]
pub struct Tax {
    /// Customer's country; empty for the default.
    pub country: String,
    /// Rate in basis points, added to net prices.
    pub rate_bps: i32,
    /// Tax components if customer and issuer are in the same state.
    pub same_state: Vec<String>,
    /// Tax components otherwise.
    pub other_state: Vec<String>,
    /// Rate for exports, in basis points.
    pub export_bps: i32,
    /// Name, such as `GST`; empty for none.
    pub name: String,
    /// HSN or SAC codes that issuers of the country print, by what a line charges for.
    pub line_codes: BTreeMap<String, String>,
    /// Names of its states as printed for the place of supply, by state code.
    pub states: BTreeMap<String, String>,
}

/// An invoice issuer.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Issuer code.
    pub code: String,
    /// Legal name.
    pub name: String,
    /// Address.
    pub address: String,
    /// Tax registration number; empty for none.
    pub tax_id: String,
    /// Country, ISO 3166-1.
    pub country: String,
    /// State or province code.
    pub state_code: String,
    /// What its invoice numbers start with: two characters.
    pub number_prefix: String,
    /// What a tax registration number is called in its country; empty for `Tax ID`.
    pub tax_id_label: String,
    /// Title of its invoices; empty for `Invoice`.
    pub invoice_title: String,
    /// What its documents say about reverse charge; empty for nothing.
    pub reverse_charge_note: String,
    /// What its documents say if the supply is an export; empty for nothing.
    pub export_statement: String,
    /// What its documents say in place of a signature; empty for nothing.
    pub signature_note: String,
    /// Month in which its fiscal year starts, 1 to 12.
    pub fiscal_year_start_month: i32,
    /// Public holidays of its country, which are not business days.
    pub holidays: Vec<NaiveDate>,
}

impl Catalogue {
    /// The plan `code` of `family`.
    pub fn plan(&self, family: &str, code: &str) -> Option<&Plan> {
        self.plans
            .iter()
            .find(|plan| plan.family == family && plan.code == code)
    }

    /// The billing cycle `code` of `family`.
    pub fn cycle(&self, family: &str, code: &str) -> Option<Cycle> {
        self.families.get(family)?.cycles.get(code).copied()
    }

    /// The plans of `family`, lowest rank first.
    pub fn plans_of<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a Plan> {
        self.plans.iter().filter(move |plan| plan.family == family)
    }
}
