//! The catalogue document: its YAML form, and every check at import.
//!
//! `keys` checks each key and value on its own; this module checks how they fit together.

mod keys;

use std::collections::{BTreeMap, BTreeSet};

use chassis::wire::MICROS_MAX;
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use serde::Deserialize;
use serde_yaml_ng::{Mapping, Value};
use values::{Amount, Currency, Money, Rounding, Zone};

use crate::domain::catalogue::{
    AtZero, AutoRechargePolicy, BalancePolicy, Cancel, Catalogue, Charge, ClosePolicy, Cycle,
    Family, InvoicedPolicy, Issuer, KycTerms, LimitedPolicy, Plan, Priority, Profile, Rates,
    RechargeMode, RefundPolicy, Response, SoftClosePolicy, SupportHours, Tax, TaxTreatment, Tier,
    TrialOnUpgrade, TrialPolicy,
};
use crate::domain::change::{
    Actor, ChangeKind, Conditions, Direction, Effect, Governor, Mode, Rule,
};
use crate::domain::entitlement::{Feature, FeatureKind};

/// A fault of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path, such as `families.SUPPORT.time_zone`.
    pub path: String,
    /// Line of the path, or of the nearest key above it.
    pub line: Option<usize>,
    /// What would be accepted.
    pub expected: String,
}

/// The complete usage pool: an account with its subaccounts, or all members of a contract (REQ-017).
const POOL: [&str; 3] = ["SELF", "SUBACCOUNTS", "CONTRACT_MEMBERS"];
/// Kinds of credit lots.
const LOTS: [&str; 3] = ["PAID", "PROMO", "TRIAL"];
/// What the lines of invoices charge for.
const LINES: [&str; 3] = ["SUBSCRIPTION", "CREDITS", "USAGE"];
/// Ticket priorities.
const PRIORITIES: [&str; 3] = ["P1", "P2", "P3"];
/// Suffix of the sections that contain plans.
const PLANS: &str = "_plans";
/// Default years for which invoices are kept.
const INVOICE_YEARS: i32 = 8;
/// Default days from issue to the due date of an invoice.
const NET_DAYS: i32 = 30;
/// Default days after the due date on which a reminder is sent.
const REMINDER_DAYS: [i32; 3] = [1, 3, 7];
/// Default minutes for which auto-recharge pauses: one day.
const PAUSE_MINUTES: i32 = 1_440;
/// Maximum of faults reported at once.
const MAX_FAULTS: usize = 50;
/// Default maximum of trial accounts per user.
const MAX_TRIAL_ACCOUNTS: i32 = 3;
/// Default maximum of resources per account.
const MAX_RESOURCES: i32 = 500;

#[derive(Deserialize)]
struct Document {
    catalogue_version: String,
    effective_from: String,
    families: BTreeMap<String, FamilyDocument>,
    #[serde(default)]
    entitlement_types: BTreeMap<String, FeatureDocument>,
    account_profiles: BTreeMap<String, ProfileDocument>,
    issuers: BTreeMap<String, IssuerDocument>,
    #[serde(default)]
    holiday_calendars: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    run_approval: BTreeMap<String, String>,
    rates: Option<RatesDocument>,
    #[serde(default)]
    tax: BTreeMap<String, TaxDocument>,
    kyc: Option<KycDocument>,
    #[serde(default)]
    retention_years: BTreeMap<String, i32>,
    business_hours: Option<HoursDocument>,
    #[serde(default)]
    priorities: BTreeMap<String, PriorityDocument>,
    #[serde(default)]
    payment_methods: BTreeMap<String, MethodDocument>,
    #[serde(flatten)]
    sections: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct HoursDocument {
    days: String,
    from: String,
    to: String,
    zone: String,
}

#[derive(Deserialize)]
struct PriorityDocument {
    name: String,
    production_only: bool,
}

/// A payment method, as far as this service checks it against the rest; `payments` reads the other keys.
#[derive(Deserialize)]
struct MethodDocument {
    plans: Value,
    cycles: Value,
    settlement: String,
    #[serde(default)]
    expected_business_days: i32,
    recurring: bool,
    minimum: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyDocument {
    currency: String,
    time_zone: String,
    billing_mode: String,
    period: String,
    scope: String,
    default_plan: String,
    cancel_operation: String,
    confirmations_required: i32,
    quote_ttl_minutes: i32,
    proration: ProrationDocument,
    change_rules: Vec<RuleDocument>,
    usage_pool: Option<Vec<String>>,
    usage_excluded_categories: Option<Vec<String>>,
    usage_close_grace_hours: Option<i32>,
    run_schedule: Option<String>,
    free_plan: Option<String>,
    month_end_rule: Option<String>,
    cancel_to_mode: Option<String>,
    pending_change: Option<PendingDocument>,
    over_quota_on_downgrade: Option<String>,
    renewal_retry_days: Option<Vec<i32>>,
    monthly_minimum_mode: Option<String>,
    #[serde(default)]
    billing_cycles: BTreeMap<String, CycleDocument>,
    cycle_discount_constraint: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingDocument {
    max: u32,
    replaceable: bool,
    withdrawable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProrationDocument {
    mode: String,
    start_day: Option<String>,
    same_day_rule: Option<String>,
    usage_base: Option<String>,
    rounding: Option<String>,
    #[serde(rename = "UPGRADE")]
    upgrade: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleDocument {
    when: WhenDocument,
    effect: String,
    #[serde(default)]
    reason: String,
    charge: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenDocument {
    governed_by: Option<String>,
    actor: Option<String>,
    from_plan: Option<String>,
    to_plan: Option<String>,
    direction: Option<String>,
    has_contract_offer: Option<bool>,
    from_mode: Option<String>,
    change: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CycleDocument {
    months: u32,
    discount_bps: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureDocument {
    kind: String,
    #[serde(default)]
    order: Vec<String>,
    values: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "parsed so that keys used by other services are not reported as unknown"
)]
struct PlanDocument {
    rank: i32,
    name: Option<String>,
    charge: Option<ChargeDocument>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    first_response: BTreeMap<String, Option<ResponseDocument>>,
    #[serde(default)]
    self_serve: SelfServe,
    buy_label: Option<String>,
    #[serde(default = "yes")]
    available: bool,
    #[serde(default)]
    technical_account_manager: bool,
    #[serde(default)]
    entitlements: BTreeMap<String, Value>,
    trial: Option<TrialDocument>,
    minimum_initial_credit: Option<String>,
    #[serde(default)]
    addons: BTreeMap<String, AddOnDocument>,
    #[serde(default)]
    quote_only: bool,
    #[serde(default)]
    contact: String,
    #[serde(default)]
    contract_terms_months: Vec<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddOnDocument {
    monthly: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SelfServe {
    purchase: bool,
    cancel: bool,
}

impl Default for SelfServe {
    fn default() -> Self {
        Self {
            purchase: true,
            cancel: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResponseDocument {
    minutes: i32,
    clock: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChargeDocument {
    r#type: String,
    amount: Option<String>,
    minimum: Option<String>,
    maximum: Option<String>,
    #[serde(default)]
    tiers: Vec<TierDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TierDocument {
    up_to: Option<String>,
    rate_bps: i32,
}

#[derive(Deserialize)]
struct ProfileDocument {
    max_subaccounts: Option<i32>,
    max_trial_accounts: Option<i32>,
    max_resources: Option<i32>,
    currency: String,
    time_zone: String,
    families: Vec<String>,
    roles: Vec<String>,
    permissions: BTreeMap<String, Vec<String>>,
    balance: BalanceDocument,
    refund: Option<RefundDocument>,
    auto_recharge: Option<AutoRechargeDocument>,
    trial: Option<TrialDocument>,
    kyc: Option<KycGatesDocument>,
    dlt: Option<DltDocument>,
    #[serde(default)]
    advisory_checklist: Vec<String>,
    limited_mode: Option<LimitedDocument>,
    close: Option<CloseDocument>,
    soft_close: Option<SoftCloseDocument>,
    invoiced: Option<InvoicedDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed so that its keys count as known")]
struct InvoicedDocument {
    min_commit_per_year: Option<String>,
    terms: Vec<String>,
    reminder_days: Option<Vec<i32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed so that its keys count as known")]
struct TrialDocument {
    duration_days: i32,
    credit: String,
    max_whitelisted: Option<i32>,
    max_verified_numbers: Option<i32>,
    numbers: Option<i32>,
    data_kept_days_after_expiry: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KycGatesDocument {
    required: bool,
    #[serde(default)]
    gates: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DltDocument {
    required_for_sms_to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitedDocument {
    denied: Vec<String>,
    number_hold_days: i32,
    #[serde(default)]
    charge_rental: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseDocument {
    invoiced: String,
    blocked_suspension_reasons: Vec<String>,
    reauth_max_age_minutes: i32,
    full_options: Vec<String>,
    trial_acknowledgements: Vec<String>,
    cascade_subaccounts: bool,
    settle_accrued_first: bool,
    refund_unused_subscription: String,
    data_purge_days: i32,
    records_kept_after_purge: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SoftCloseDocument {
    release_kinds: Vec<String>,
    cancel_kinds: Vec<String>,
    recordings: String,
    on_contract_plan: String,
    refund: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed so that its keys count as known")]
struct KycDocument {
    statuses: Option<Vec<String>>,
    review_business_days: ReviewDocument,
    resubmissions: Option<Value>,
    documents_in: Vec<String>,
    documents_sea: Vec<String>,
    file: FileDocument,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed so that its keys count as known")]
struct ReviewDocument {
    standard: i32,
    manual: Option<i32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDocument {
    types: Vec<String>,
    max_mb: i64,
}

#[derive(Deserialize)]
struct BalanceDocument {
    buckets: Option<Vec<String>>,
    consume_order: Vec<String>,
    notify_below: Option<String>,
    at_zero: Option<String>,
    trial_on_upgrade: Option<String>,
    expire_when_not_paid_days: Option<i32>,
    numbers_at_risk_after_days: Option<i32>,
}

#[derive(Deserialize)]
struct RefundDocument {
    fee_bps: i32,
    minimum: String,
    due_business_days: i32,
    window_days: Option<i32>,
    tax_treatment: String,
    route: String,
    order: String,
    fallback: String,
    promo: String,
    trial: String,
}

#[derive(Deserialize)]
struct AutoRechargeDocument {
    mode: String,
    default_threshold: String,
    min_threshold: String,
    default_target: Option<String>,
    default_amount: Option<String>,
    default_maximum: Option<String>,
    pause_minutes: Option<i32>,
    max_per_month: Option<i32>,
    invoiced: bool,
    #[serde(default)]
    no_recurring_card_countries: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesDocument {
    voice: VoiceDocument,
    sms: SmsDocument,
    number_rental_monthly: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoiceDocument {
    pulse_seconds: i32,
    per_pulse: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SmsDocument {
    gsm_single: Option<u32>,
    gsm_part: Option<u32>,
    ucs2_single: Option<u32>,
    ucs2_part: Option<u32>,
    per_part: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TaxDocument {
    name: Option<String>,
    rate_bps: i32,
    #[serde(default)]
    inclusive: bool,
    #[serde(default)]
    same_state: Vec<String>,
    #[serde(default)]
    other_state: Vec<String>,
    #[serde(default)]
    sez_export_bps: i32,
    #[serde(default)]
    line_codes: BTreeMap<String, String>,
    #[serde(default)]
    states: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerDocument {
    name: String,
    address: String,
    tax_id: Option<String>,
    country: String,
    state: String,
    fiscal_year_start: String,
    profiles: Vec<String>,
    #[serde(default)]
    number_prefix: String,
    #[serde(default)]
    tax_id_label: String,
    #[serde(default)]
    invoice_title: String,
    #[serde(default)]
    reverse_charge_note: String,
    #[serde(default)]
    export_statement: String,
    #[serde(default)]
    signature_note: String,
}

const fn yes() -> bool {
    true
}

/// Parses a document for import and checks it completely; returns every fault (REQ-081, REQ-099, C-24).
pub fn read_new(text: &str) -> Result<Catalogue, Vec<Fault>> {
    read_as(text, true)
}

/// Parses a stored document. Checks that apply only to new documents are skipped.
pub fn read(text: &str) -> Result<Catalogue, Vec<Fault>> {
    read_as(text, false)
}

fn read_as(text: &str, new: bool) -> Result<Catalogue, Vec<Fault>> {
    let mut check = Check {
        new,
        faults: Vec::new(),
        told: Vec::new(),
    };
    let read: Result<Document, serde_yaml_ng::Error> = if new {
        let document = serde_yaml_ng::from_str(text).map_err(|error| vec![unread(&error)])?;
        // Refused parts are replaced, so that the rest can be checked too.
        let healed = keys::checked(document);
        check.faults = healed.faults;
        check.told = healed.places;
        serde_yaml_ng::from_value(healed.document)
    } else {
        serde_yaml_ng::from_str(text)
    };
    let catalogue = match read {
        Ok(document) => Some(check.catalogue(&document)),
        Err(error) => {
            if check.faults.is_empty() {
                check.faults.push(unread(&error));
            }
            None
        }
    };
    check.faults.truncate(MAX_FAULTS);
    for fault in &mut check.faults {
        fault.line = fault.line.or_else(|| keys::line(text, &fault.path));
    }
    match catalogue {
        Some(catalogue) if check.faults.is_empty() => Ok(catalogue),
        Some(_) | None => Err(check.faults),
    }
}

/// The fault of a parser error.
fn unread(error: &serde_yaml_ng::Error) -> Fault {
    Fault {
        path: "document".to_owned(),
        line: error.location().map(|at| at.line()),
        expected: short(&error.to_string()),
    }
}

/// The parser's message, cut to the length of an error detail.
fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

/// The name of the section that contains a family's plans.
fn section(family: &str) -> String {
    format!("{}{PLANS}", family.to_lowercase())
}

/// The texts of a list; empty if the value is not a list.
fn listed(value: &Value) -> Vec<String> {
    let items = value.as_sequence().into_iter().flatten();
    items
        .filter_map(|it| Some(it.as_str()?.to_owned()))
        .collect()
}

/// Whether `within` equals `path` or lies below it.
fn covers(path: &str, within: &str) -> bool {
    let rest = within.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

struct Check {
    new: bool,
    faults: Vec<Fault>,
    /// Paths that have a fault, or whose fault follows from a reported one.
    told: Vec<String>,
}

impl Check {
    /// Reports a fault, unless one is reported for the same path, a part of it or a parent of it.
    fn fault(&mut self, path: impl Into<String>, expected: impl Into<String>) {
        let path = path.into();
        let follows = |told: &String| covers(told, &path) || covers(&path, told);
        if self.told.iter().any(follows) {
            return;
        }
        self.told.push(path.clone());
        self.faults.push(Fault {
            path,
            line: None,
            expected: expected.into(),
        });
    }

    /// Whether a fault at `path` or below is reported, in which case dependent faults are not reported again.
    fn is_told(&self, path: &str) -> bool {
        self.told.iter().any(|told| covers(path, told))
    }

    /// Like [`Self::unless`], but only for new documents.
    fn only(&mut self, right: bool, path: impl Into<String>, expected: impl Into<String>) {
        self.unless(right || !self.new, path, expected);
    }

    /// Reports a key that has no effect here: it is allowed only if `read`.
    fn heard(&mut self, read: bool, present: bool, path: String, why: &str) {
        self.only(read || !present, path, format!("no such key here: {why}"));
    }

    fn unless(&mut self, right: bool, path: impl Into<String>, expected: impl Into<String>) {
        if !right {
            self.fault(path, expected);
        }
    }

    #[expect(clippy::too_many_lines, reason = "checks in the order of the document")]
    fn catalogue(&mut self, document: &Document) -> Catalogue {
        let version = document.catalogue_version.clone();
        let plain = version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        self.unless(
            plain && !version.is_empty() && version.len() <= 32,
            "catalogue_version",
            "1 to 32 letters, digits, '.', '_', '-'",
        );
        let effective_at = document.effective_from.parse().unwrap_or_else(|_| {
            self.fault("effective_from", "an RFC 3339 instant");
            DateTime::<Utc>::UNIX_EPOCH
        });
        let features: BTreeMap<_, _> = document
            .entitlement_types
            .iter()
            .map(|(code, feature)| (code.clone(), self.feature(code, feature)))
            .collect();
        let mut families = BTreeMap::new();
        let mut plans = Vec::new();
        self.entitlements(document);
        let renamed = self.renamed_family(document);
        let mut known: BTreeSet<String> = BTreeSet::new();
        for (code, family) in &document.families {
            let (before, section) = (self.faults.len(), section(code));
            let mut own = self.plans(
                code,
                family,
                &section,
                document.sections.get(&section),
                &features,
            );
            own.sort_by(|a, b| (a.rank, &a.code).cmp(&(b.rank, &b.code)));
            let approval = document
                .run_approval
                .get(code)
                .map_or("NOT_REQUIRED", String::as_str);
            families.insert(code.clone(), self.family(code, family, approval, &own));
            // The billing mode decides which other keys apply, so faults that follow from a wrong one are dropped.
            if self.is_told(&format!("families.{code}.billing_mode")) {
                self.faults.truncate(before);
            }
            plans.extend(own);
            known.insert(section);
        }
        for section in document
            .sections
            .keys()
            .filter(|section| !known.contains(*section) && renamed.as_ref() != Some(*section))
        {
            self.fault(section, "the plans of a family");
        }
        for (name, days) in &document.holiday_calendars {
            for day in days.iter().filter(|day| day.parse::<NaiveDate>().is_err()) {
                self.fault(
                    format!("holiday_calendars.{name}"),
                    format!("dates, not {day}"),
                );
            }
        }
        for code in document.run_approval.keys() {
            let family = document.families.get(code);
            let at = format!("run_approval.{code}");
            if renamed.as_ref() != Some(&section(code)) {
                self.unless(family.is_some(), at.clone(), "a family");
            }
            let in_arrears = family.is_none_or(|it| it.billing_mode == "ARREARS");
            let why = "a family billed in advance has no billing runs";
            self.heard(in_arrears, true, at, why);
        }
        self.calendars(document);
        self.methods(document, &plans);
        let issuers: BTreeMap<_, _> = document
            .issuers
            .iter()
            .map(|(code, issuer)| (code.clone(), self.issuer(code, issuer, document)))
            .collect();
        let profiles = document
            .account_profiles
            .iter()
            .map(|(code, profile)| {
                let read = self.profile(code, profile, document, renamed.as_ref());
                // A profile without a trial of its own uses the trial of its first default plan.
                let of_plan = read.families.iter().find_map(|family| {
                    let family: &Family = families.get(family)?;
                    let first = plans.iter().find(|plan: &&Plan| {
                        plan.family == family.code && plan.code == family.default_plan
                    });
                    first?.trial.clone()
                });
                let trial = read.trial.clone().or(of_plan);
                (code.clone(), Profile { trial, ..read })
            })
            .collect();
        let kyc = document.kyc.as_ref().map(|kyc| self.kyc(kyc));
        let rates = document
            .rates
            .as_ref()
            .map(|rates| self.rates(rates, &families));
        let taxes = document
            .tax
            .iter()
            .map(|(country, tax)| self.tax(country, tax))
            .collect();
        Catalogue {
            version,
            effective_at,
            families,
            plans,
            features,
            profiles,
            issuers,
            rates,
            taxes,
            kyc,
            invoice_retention_years: self.invoice_retention(&document.retention_years),
            support_hours: document.business_hours.as_ref().map(|it| self.hours(it)),
            priorities: self.priorities(&document.priorities),
        }
    }

    /// Detects a section of plans whose family is missing under that name, such as after a typo. Other faults about
    /// either name follow from this one.
    fn renamed_family(&mut self, document: &Document) -> Option<String> {
        let mut families = document.families.keys();
        let without = families.find(|code| !document.sections.contains_key(&section(code)))?;
        let of_none = |name: &&String| {
            name.ends_with(PLANS) && !document.families.keys().any(|code| section(code) == **name)
        };
        let orphan = document.sections.keys().find(of_none)?;
        let wanted = format!(
            "the family of {orphan}, or its plans as {}",
            section(without)
        );
        self.fault(format!("families.{without}"), wanted);
        Some(orphan.clone())
    }

    /// Checks that every entitlement type is used by a plan, and that every value used has a type.
    fn entitlements(&mut self, document: &Document) {
        let plans = document
            .sections
            .iter()
            .filter(|(name, _)| name.ends_with(PLANS));
        let plans = plans.filter_map(|(_, plans)| plans.as_mapping());
        let values = plans
            .flat_map(Mapping::values)
            .filter_map(|plan| plan.get("entitlements")?.as_mapping());
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for code in values.flat_map(Mapping::keys).filter_map(Value::as_str) {
            *used.entry(code).or_default() += 1;
        }
        let types = &document.entitlement_types;
        let mut strange = false;
        for (code, count) in used.iter().filter(|(code, _)| !types.contains_key(**code)) {
            if 1 < *count {
                strange = true;
                self.fault(
                    format!("entitlement_types.{code}"),
                    "its type, since plans have values of it",
                );
            }
        }
        for code in types
            .keys()
            .filter(|code| !used.contains_key(code.as_str()))
        {
            let at = format!("entitlement_types.{code}");
            if strange {
                self.told.push(at);
            } else {
                self.only(false, at, "a value of it in each plan");
            }
        }
    }

    /// Checks that every holiday calendar belongs to the country of an issuer.
    fn calendars(&mut self, document: &Document) {
        for code in document.holiday_calendars.keys() {
            let at = format!("holiday_calendars.{code}");
            let mut issuers = document.issuers.values();
            let used = issuers.any(|it| &it.country == code);
            self.only(used, at, "the country of one of issuers");
        }
    }

    /// Checks that payment methods name existing plans and cycles; `payments` checks the rest.
    fn methods(&mut self, document: &Document, plans: &[Plan]) {
        if !self.new {
            return;
        }
        let families = document.families.values();
        let with_cycles: Vec<&FamilyDocument> = families
            .filter(|family| !family.billing_cycles.is_empty())
            .collect();
        let priced_in: Option<Currency> = with_cycles
            .iter()
            .find_map(|family| family.currency.parse().ok());
        for (code, method) in &document.payment_methods {
            let path = |key: &str| format!("payment_methods.{code}.{key}");
            for plan in listed(&method.plans) {
                let known = plans.iter().any(|it| it.code == plan);
                let expected = format!("plans of the catalogue, not {plan}");
                self.unless(known, path("plans"), expected);
            }
            for cycle in listed(&method.cycles) {
                let mut families = with_cycles.iter();
                let known = families.any(|it| it.billing_cycles.contains_key(&cycle));
                self.unless(
                    known,
                    path("cycles"),
                    format!("billing cycles, not {cycle}"),
                );
            }
            let offline = method.settlement == "DELAYED";
            if !self.is_told(&path("settlement")) {
                self.unless(
                    offline == (0 < method.expected_business_days),
                    path("expected_business_days"),
                    "above zero for DELAYED, none otherwise",
                );
                let why = "false for a method that is settled offline";
                self.unless(!offline || !method.recurring, path("recurring"), why);
            }
            if let (Some(minimum), Some(currency)) = (&method.minimum, priced_in) {
                let least = self.money(&path("minimum"), minimum, currency);
                self.unless(0 < least.minor(), path("minimum"), "an amount above zero");
            }
        }
    }

    fn hours(&mut self, from: &HoursDocument) -> SupportHours {
        for (key, text) in [("from", &from.from), ("to", &from.to)] {
            let read = NaiveTime::parse_from_str(text, "%H:%M").is_ok();
            let at = format!("business_hours.{key}");
            self.only(read, at, "a time of the day, such as 06:00");
        }
        SupportHours {
            days: from.days.clone(),
            opens: from.from.clone(),
            closes: from.to.clone(),
            zone: self.zone("business_hours.zone", &from.zone),
        }
    }

    fn priorities(&mut self, from: &BTreeMap<String, PriorityDocument>) -> Vec<Priority> {
        for code in from.keys() {
            let known = PRIORITIES.contains(&code.as_str());
            self.only(known, format!("priorities.{code}"), PRIORITIES.join(" or "));
        }
        let read = from.iter().map(|(code, it)| Priority {
            code: code.clone(),
            name: it.name.clone(),
            production_only: it.production_only,
        });
        read.collect()
    }

    /// Years for which invoices are kept. Every document class is checked.
    fn invoice_retention(&mut self, years: &BTreeMap<String, i32>) -> i32 {
        for (class, count) in years {
            let path = format!("retention_years.{class}");
            self.one_of(path.clone(), class, &["INVOICE", "LEDGER", "AUDIT"]);
            self.unless((1..=100).contains(count), path, "1 to 100");
        }
        years.get("INVOICE").copied().unwrap_or(INVOICE_YEARS)
    }

    fn kyc(&mut self, kyc: &KycDocument) -> KycTerms {
        let days = kyc.review_business_days.standard;
        self.unless(
            (1..=250).contains(&days),
            "kyc.review_business_days.standard",
            "1 to 250",
        );
        let all = [
            "ADDITIONAL_INFO_REQUIRED",
            "APPROVED",
            "IN_REVIEW",
            "NOT_SUBMITTED",
            "PENDING",
            "REJECTED",
        ];
        let mut statuses = kyc
            .statuses
            .clone()
            .unwrap_or(all.map(str::to_owned).into());
        statuses.sort();
        self.only(statuses == all, "kyc.statuses", all.join(", "));
        let size = kyc.file.max_mb;
        self.unless((1..=1_000).contains(&size), "kyc.file.max_mb", "1 to 1000");
        KycTerms {
            review_business_days: days,
            documents_in: kyc.documents_in.clone(),
            documents_elsewhere: kyc.documents_sea.clone(),
            file_types: kyc.file.types.clone(),
            max_bytes: size.clamp(1, 1_000) * 1_048_576,
        }
    }

    fn trial(&mut self, path: &str, from: &TrialDocument, currency: Currency) -> TrialPolicy {
        self.unless(
            (1..=3_650).contains(&from.duration_days),
            format!("{path}.duration_days"),
            "1 to 3650",
        );
        let both = from.max_whitelisted.is_some() && from.max_verified_numbers.is_some();
        let why = "max_whitelisted is given";
        self.heard(false, both, format!("{path}.max_verified_numbers"), why);
        let most = from.max_whitelisted.or(from.max_verified_numbers);
        TrialPolicy {
            duration_days: from.duration_days,
            credit: self.amount(&format!("{path}.credit"), &from.credit, currency),
            max_whitelisted: most.unwrap_or(0),
            max_numbers: from.numbers.unwrap_or(0),
        }
    }

    /// A limit that every profile has, with a default.
    fn bound(&mut self, path: String, given: Option<i32>, default: i32) -> i32 {
        let bound = given.unwrap_or(default);
        self.unless((1..=1_000_000).contains(&bound), path, "1 to 1000000");
        bound
    }

    fn limited(&mut self, code: &str, from: &LimitedDocument) -> LimitedPolicy {
        let path = format!("account_profiles.{code}.limited_mode.number_hold_days");
        self.unless(
            (0..=3_650).contains(&from.number_hold_days),
            path,
            "0 to 3650",
        );
        LimitedPolicy {
            denied: from.denied.clone(),
            number_hold_days: from.number_hold_days,
            charges_rental: from.charge_rental,
        }
    }

    fn close(&mut self, code: &str, from: &CloseDocument) -> ClosePolicy {
        let path = |key: &str| format!("account_profiles.{code}.close.{key}");
        self.one_of(
            path("invoiced"),
            &from.invoiced,
            &["OPERATOR_ONLY", "OWNER"],
        );
        let nothing = &from.refund_unused_subscription;
        self.one_of(path("refund_unused_subscription"), nothing, &["NONE"]);
        self.unless(
            from.cascade_subaccounts,
            path("cascade_subaccounts"),
            "true",
        );
        self.unless(
            from.settle_accrued_first,
            path("settle_accrued_first"),
            "true",
        );
        let kept = ["LEDGER", "INVOICE", "REFUND", "AUDIT"];
        self.unless(
            from.records_kept_after_purge == kept,
            path("records_kept_after_purge"),
            kept.join(", "),
        );
        for option in &from.full_options {
            let known = ["DELETE_ALL_DATA_AND_SETTINGS", "KEEP_ACCOUNT_DATA"];
            self.one_of(path("full_options"), option, &known);
        }
        // Stored responses are replayed for 30 days and may contain personal data, so data can't be purged earlier.
        for (key, count, least, most) in [
            (
                "reauth_max_age_minutes",
                from.reauth_max_age_minutes,
                1,
                1_440,
            ),
            ("data_purge_days", from.data_purge_days, 30, 3_650),
        ] {
            self.unless(
                (least..=most).contains(&count),
                path(key),
                format!("{least} to {most}"),
            );
        }
        ClosePolicy {
            invoiced_by_operator: from.invoiced == "OPERATOR_ONLY",
            blocked_suspension_reasons: from.blocked_suspension_reasons.clone(),
            reauth_max_age_minutes: from.reauth_max_age_minutes,
            full_options: from.full_options.clone(),
            trial_acknowledgements: from.trial_acknowledgements.clone(),
            data_purge_days: from.data_purge_days,
        }
    }

    /// Invoices have one term; in stored documents with several the first applies.
    fn invoiced(&mut self, code: &str, from: Option<&InvoicedDocument>) -> InvoicedPolicy {
        let path = |key: &str| format!("account_profiles.{code}.invoiced.{key}");
        let net = |terms: &String| terms.strip_prefix("NET_")?.parse::<i32>().ok();
        let days: Option<Vec<i32>> = from.map_or(Some(vec![NET_DAYS]), |from| {
            from.terms.iter().map(net).collect()
        });
        let days = days.unwrap_or_default();
        self.unless(
            !days.is_empty() && days.iter().all(|days| (0..=365).contains(days)),
            path("terms"),
            "terms such as NET_30, of at most 365 days",
        );
        self.only(
            days.len() <= 1,
            path("terms"),
            "one, such as [NET_30]: invoices have one term",
        );
        let reminders = from.and_then(|from| from.reminder_days.clone());
        let reminder_days = reminders.unwrap_or_else(|| REMINDER_DAYS.to_vec());
        self.unless(
            reminder_days.first().is_none_or(|first| 1 <= *first)
                && reminder_days.is_sorted_by(|one, next| one < next)
                && reminder_days.last().is_none_or(|last| *last <= 365),
            path("reminder_days"),
            "days from 1 to 365, each later than the one before",
        );
        InvoicedPolicy {
            net_days: days.first().copied().unwrap_or(NET_DAYS),
            reminder_days,
        }
    }

    fn soft_close(&mut self, code: &str, from: &SoftCloseDocument) -> SoftClosePolicy {
        let path = |key: &str| format!("account_profiles.{code}.soft_close.{key}");
        self.one_of(path("recordings"), &from.recordings, &["KEEP"]);
        self.one_of(path("refund"), &from.refund, &["NONE"]);
        self.one_of(path("on_contract_plan"), &from.on_contract_plan, &["BLOCK"]);
        SoftClosePolicy {
            release_kinds: from.release_kinds.clone(),
            cancel_kinds: from.cancel_kinds.clone(),
        }
    }

    fn rates(&mut self, rates: &RatesDocument, families: &BTreeMap<String, Family>) -> Rates {
        // Usage is rated for prepaid accounts, so the prices are in the currency of the family paid in advance.
        let currency = families
            .values()
            .find(|family| !family.in_arrears)
            .map_or(Currency::Usd, |family| family.currency);
        let pulse = rates.voice.pulse_seconds;
        self.unless(
            (1..=86_400).contains(&pulse),
            "rates.voice.pulse_seconds",
            "1 to 86400",
        );
        let sms = &rates.sms;
        for (key, given, size) in [
            ("gsm_single", sms.gsm_single, 160),
            ("gsm_part", sms.gsm_part, 153),
            ("ucs2_single", sms.ucs2_single, 70),
            ("ucs2_part", sms.ucs2_part, 67),
        ] {
            let expected = format!("{size}, as networks have it (3GPP TS 23.040)");
            let as_cut = given.is_none_or(|given| given == size);
            self.unless(as_cut || !self.new, format!("rates.sms.{key}"), expected);
        }
        Rates {
            voice_pulse_seconds: pulse,
            voice_per_pulse: self.amount("rates.voice.per_pulse", &rates.voice.per_pulse, currency),
            sms_per_part: self.amount("rates.sms.per_part", &rates.sms.per_part, currency),
            number_rentals: rates
                .number_rental_monthly
                .iter()
                .flatten()
                .map(|(kind, price)| {
                    let path = format!("rates.number_rental_monthly.{kind}");
                    (kind.clone(), self.money(&path, price, currency))
                })
                .collect(),
        }
    }

    fn tax(&mut self, country: &str, tax: &TaxDocument) -> Tax {
        let path = |key: &str| format!("tax.{country}.{key}");
        let known = country == "default"
            || (country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase()));
        self.unless(
            known,
            format!("tax.{country}"),
            "an ISO 3166-1 code or default",
        );
        for (key, bps) in [
            ("rate_bps", tax.rate_bps),
            ("sez_export_bps", tax.sez_export_bps),
        ] {
            self.unless((0..=10_000).contains(&bps), path(key), "0 to 10000");
        }
        self.unless(!tax.inclusive, path("inclusive"), "false: prices are net");
        // A tax has one component, or two equal ones.
        let parts = |codes: &[String]| tax.rate_bps == 0 || (1..=2).contains(&codes.len());
        self.unless(
            parts(&tax.same_state),
            path("same_state"),
            "one or two codes",
        );
        self.unless(
            parts(&tax.other_state),
            path("other_state"),
            "one or two codes",
        );
        // Two components split the rate in half, so it must be an even number of basis points.
        for (key, codes, bps) in [
            ("rate_bps", &tax.same_state, tax.rate_bps),
            ("rate_bps", &tax.other_state, tax.rate_bps),
            ("sez_export_bps", &tax.other_state, tax.sez_export_bps),
        ] {
            let halves = codes.len() != 2 || bps % 2 == 0;
            self.unless(
                halves,
                path(key),
                "an even number, since the tax has two components",
            );
        }
        Tax {
            country: if country == "default" {
                String::new()
            } else {
                country.to_owned()
            },
            rate_bps: tax.rate_bps,
            same_state: tax.same_state.clone(),
            other_state: tax.other_state.clone(),
            export_bps: tax.sez_export_bps,
            name: tax.name.clone().unwrap_or_default(),
            line_codes: self.line_codes(country, tax),
            states: tax.states.clone(),
        }
    }

    fn line_codes(&mut self, country: &str, tax: &TaxDocument) -> BTreeMap<String, String> {
        for (kind, code) in &tax.line_codes {
            let digits =
                matches!(code.len(), 4 | 6 | 8) && code.bytes().all(|b| b.is_ascii_digit());
            self.unless(
                digits && LINES.contains(&kind.as_str()),
                format!("tax.{country}.line_codes.{kind}"),
                "an HSN or SAC code of 4, 6 or 8 digits for SUBSCRIPTION, CREDITS or USAGE",
            );
        }
        tax.line_codes.clone()
    }

    fn amount(&mut self, path: &str, text: &str, currency: Currency) -> Amount {
        let read = Amount::parse(text, currency)
            .ok()
            .filter(|amount| (0..=MICROS_MAX).contains(&amount.micros()));
        read.unwrap_or_else(|| {
            self.fault(path, "a decimal of at most 6 places, 0 to 1000000000000");
            Amount::from_micros(0, currency)
        })
    }

    fn one_of(&mut self, path: String, text: &str, known: &[&str]) -> String {
        self.unless(known.contains(&text), path, known.join(" or "));
        text.to_owned()
    }

    /// The value among `all` that a word of the document names. If it names none, that is a fault: the document is
    /// refused, and the caller may go on checking with any value.
    fn named<T: Copy, const N: usize>(
        &mut self,
        path: String,
        word: &str,
        all: [T; N],
        as_str: fn(T) -> &'static str,
    ) -> Option<T> {
        let known = all.map(as_str);
        self.unless(known.contains(&word), path, known.join(" or "));
        all.into_iter().find(|it| as_str(*it) == word)
    }

    fn balance(&mut self, code: &str, from: &BalanceDocument, currency: Currency) -> BalancePolicy {
        let path = |key: &str| format!("account_profiles.{code}.balance.{key}");
        let unpaid_days = from.expire_when_not_paid_days.unwrap_or(0);
        self.unless(
            (0..=3_650).contains(&unpaid_days),
            path("expire_when_not_paid_days"),
            "0 to 3650",
        );
        let risk_days = from.numbers_at_risk_after_days.unwrap_or(0);
        self.unless(
            (0..=3_650).contains(&risk_days),
            path("numbers_at_risk_after_days"),
            "0 to 3650",
        );
        let mut buckets = from
            .buckets
            .clone()
            .unwrap_or_else(|| LOTS.map(str::to_owned).into());
        buckets.sort();
        self.only(buckets == LOTS, path("buckets"), LOTS.join(", "));
        BalancePolicy {
            expire_when_not_paid_days: unpaid_days,
            numbers_at_risk_after_days: risk_days,
            notify_below: self.amount(
                &path("notify_below"),
                from.notify_below.as_deref().unwrap_or("0"),
                currency,
            ),
            // A document may omit these keys.
            at_zero: (from.at_zero.as_deref())
                .and_then(|word| self.named(path("at_zero"), word, AtZero::ALL, AtZero::as_str))
                .unwrap_or(AtZero::Suspend),
            trial_on_upgrade: (from.trial_on_upgrade.as_deref())
                .and_then(|word| {
                    let path = path("trial_on_upgrade");
                    self.named(path, word, TrialOnUpgrade::ALL, TrialOnUpgrade::as_str)
                })
                .unwrap_or(TrialOnUpgrade::Forfeit),
        }
    }

    fn refund(&mut self, code: &str, from: &RefundDocument, currency: Currency) -> RefundPolicy {
        let path = |key: &str| format!("account_profiles.{code}.refund.{key}");
        self.unless(
            (0..=10_000).contains(&from.fee_bps),
            path("fee_bps"),
            "0 to 10000",
        );
        self.unless(
            (0..=250).contains(&from.due_business_days),
            path("due_business_days"),
            "0 to 250",
        );
        let window_days = from.window_days.unwrap_or(0);
        self.unless(
            (0..=3_650).contains(&window_days),
            path("window_days"),
            "0 to 3650",
        );
        self.one_of(path("route"), &from.route, &["ORIGINAL_METHOD"]);
        self.one_of(path("order"), &from.order, &["NEWEST_PAYMENT_FIRST"]);
        self.one_of(path("fallback"), &from.fallback, &["MANUAL_BANK_TRANSFER"]);
        self.one_of(path("promo"), &from.promo, &["NOT_REFUNDABLE"]);
        self.one_of(path("trial"), &from.trial, &["NOT_REFUNDABLE"]);
        let minimum = self.money(&path("minimum"), &from.minimum, currency);
        let tax_treatment = self.named(
            path("tax_treatment"),
            &from.tax_treatment,
            TaxTreatment::ALL,
            TaxTreatment::as_str,
        );
        let tax_treatment = tax_treatment.unwrap_or(TaxTreatment::Exclude);
        RefundPolicy {
            fee_bps: from.fee_bps,
            minimum,
            due_business_days: from.due_business_days,
            window_days,
            tax_treatment,
        }
    }

    /// Charges are counted for an hour, so a shorter pause would have no effect.
    fn pause_minutes(&mut self, path: String, said: Option<i32>) -> i32 {
        let minutes = said.unwrap_or(PAUSE_MINUTES);
        self.unless((60..=44_640).contains(&minutes), path, "60 to 44640");
        minutes
    }

    /// What an auto-recharge adds.
    fn recharge_mode(&mut self, path: String, word: &str) -> RechargeMode {
        self.named(path, word, RechargeMode::ALL, RechargeMode::as_str)
            .unwrap_or(RechargeMode::AddAmount)
    }

    /// Whether the mode of auto-recharge is valid, since the other keys depend on it.
    fn recharges_by(&mut self, path: &str, from: &AutoRechargeDocument, key: &str) -> bool {
        let known = !self.is_told(&format!("{path}.mode"));
        let (other, present) = if key == "default_target" {
            ("default_amount", from.default_amount.is_some())
        } else {
            ("default_target", from.default_target.is_some())
        };
        if known {
            let why = "the mode uses the other key";
            self.heard(false, present, format!("{path}.{other}"), why);
        } else {
            self.told.push(format!("{path}.{key}"));
        }
        known
    }

    fn auto_recharge(
        &mut self,
        code: &str,
        from: &AutoRechargeDocument,
        currency: Currency,
    ) -> AutoRechargePolicy {
        let path = |key: &str| format!("account_profiles.{code}.auto_recharge.{key}");
        let tops_up = from.mode == RechargeMode::TopUpTo.as_str();
        let (key, amount) = if tops_up {
            ("default_target", &from.default_target)
        } else {
            ("default_amount", &from.default_amount)
        };
        let known = self.recharges_by(&format!("account_profiles.{code}.auto_recharge"), from, key);
        self.unless(amount.is_some(), path(key), "an amount");
        let one_maximum = !known || tops_up || from.default_maximum.is_none();
        self.unless(
            one_maximum,
            path("default_maximum"),
            "none: each charge adds default_amount",
        );
        // Charged amounts must be whole minor units.
        let mut charged = |key: &str, text: Option<&str>| {
            self.money(&path(key), text.unwrap_or("0"), currency)
                .amount()
                .unwrap_or(Amount::from_micros(0, currency))
        };
        let default_amount = charged(key, amount.as_deref());
        let default_maximum = match from.default_maximum.as_deref() {
            Some(text) => charged("default_maximum", Some(text)),
            None => default_amount,
        };
        self.unless(
            0 < default_maximum.micros() || default_amount.micros() == 0,
            path("default_maximum"),
            "above zero",
        );
        let max_per_month = from.max_per_month.unwrap_or(0);
        self.unless(
            (0..=1_000).contains(&max_per_month),
            path("max_per_month"),
            "0 to 1000",
        );
        let policy = AutoRechargePolicy {
            mode: self.recharge_mode(path("mode"), &from.mode),
            default_threshold: self.amount(
                &path("default_threshold"),
                &from.default_threshold,
                currency,
            ),
            min_threshold: self.amount(&path("min_threshold"), &from.min_threshold, currency),
            default_amount,
            default_maximum,
            pause_minutes: self.pause_minutes(path("pause_minutes"), from.pause_minutes),
            max_per_month,
            invoiced: from.invoiced,
            no_recurring_card_countries: from.no_recurring_card_countries.clone(),
        };
        let threshold = policy.default_threshold.micros();
        self.unless(
            policy.min_threshold.micros() <= threshold,
            path("default_threshold"),
            "min_threshold or more",
        );
        let least = if tops_up { threshold } else { 0 };
        self.unless(
            least < policy.default_amount.micros(),
            path(key),
            "above zero, and a target above the threshold",
        );
        policy
    }

    fn currency(&mut self, path: &str, text: &str) -> Currency {
        text.parse().unwrap_or_else(|_| {
            self.fault(path, "an ISO 4217 code known here");
            Currency::Usd
        })
    }

    fn zone(&mut self, path: &str, text: &str) -> Zone {
        Zone::parse(text).unwrap_or_else(|_| {
            self.fault(path, "an IANA time zone");
            Zone::parse("UTC").expect("UTC is a zone")
        })
    }

    fn money(&mut self, path: &str, text: &str, currency: Currency) -> Money {
        let taken = 0..=MICROS_MAX / currency.micros_per_minor();
        let read = Money::parse(text, currency)
            .ok()
            .filter(|money| taken.contains(&money.minor()));
        read.unwrap_or_else(|| {
            self.fault(
                path,
                format!(
                    "a decimal of at most {} places, 0 to 1000000000000",
                    currency.decimals()
                ),
            );
            Money::from_minor(0, currency)
        })
    }

    #[expect(clippy::too_many_lines, reason = "checks in the order of the document")]
    fn family(
        &mut self,
        code: &str,
        family: &FamilyDocument,
        approval: &str,
        plans: &[Plan],
    ) -> Family {
        let path = |key: &str| format!("families.{code}.{key}");
        self.names_plan(path("default_plan"), (code, &family.default_plan), plans);
        self.unless(
            (0..=5).contains(&family.confirmations_required),
            path("confirmations_required"),
            "0 to 5",
        );
        self.unless(
            (1..=43_200).contains(&family.quote_ttl_minutes),
            path("quote_ttl_minutes"),
            "1 to 43200",
        );
        let grace_hours = family.usage_close_grace_hours.unwrap_or(0);
        self.unless(
            (0..=720).contains(&grace_hours),
            path("usage_close_grace_hours"),
            "0 to 720",
        );
        let in_arrears = family.billing_mode == "ARREARS";
        self.of_mode(code, family, in_arrears);
        let schedule = family.run_schedule.as_deref();
        self.unless(
            matches!(schedule, None | Some("AUTOMATIC" | "MANUAL")),
            path("run_schedule"),
            "AUTOMATIC or MANUAL",
        );
        self.unless(
            in_arrears || schedule.is_none(),
            path("run_schedule"),
            "none: a family billed in advance has no billing runs",
        );
        self.unless(
            in_arrears || family.billing_mode == "ADVANCE",
            path("billing_mode"),
            "ARREARS or ADVANCE",
        );
        self.unless(
            family.scope == "ROOT_ACCOUNT",
            path("scope"),
            "ROOT_ACCOUNT",
        );
        let period = if in_arrears {
            "CALENDAR_MONTH"
        } else {
            "ANNIVERSARY"
        };
        self.unless(family.period == period, path("period"), period);
        let proration = &family.proration;
        let daily = proration.mode == "DAILY";
        let mode = if in_arrears { "DAILY" } else { "NONE" };
        let why = format!(
            "{mode}, in a family that is billed in {}",
            family.billing_mode
        );
        self.only(proration.mode == mode, path("proration.mode"), why);
        for (key, value, only) in [
            ("start_day", &proration.start_day, "INCLUSIVE"),
            (
                "same_day_rule",
                &proration.same_day_rule,
                "HIGHEST_RANK_STARTED",
            ),
            ("usage_base", &proration.usage_base, "WHOLE_MONTH"),
        ] {
            let right = value.as_deref().is_none_or(|value| value == only);
            self.unless(right, path(&format!("proration.{key}")), only);
        }
        let rounding = match proration.rounding.as_deref() {
            None | Some("HALF_UP") => Rounding::HalfUp,
            Some("HALF_EVEN") => Rounding::HalfEven,
            Some(_) => {
                self.fault(path("proration.rounding"), "HALF_UP or HALF_EVEN");
                Rounding::HalfUp
            }
        };
        let cancel = match (
            family.cancel_operation.as_str(),
            family.free_plan.as_deref(),
        ) {
            ("SELECT_FREE_PLAN", Some(free)) => {
                self.names_plan(path("free_plan"), (code, free), plans);
                let costs = |plan: &Plan| plan.code == free && plan.charge != Some(Charge::Free);
                self.unless(
                    !plans.iter().any(costs),
                    path("free_plan"),
                    "a plan of the family whose charge is FREE",
                );
                Cancel::SelectFreePlan
            }
            ("SELECT_FREE_PLAN", None) => {
                self.fault(path("free_plan"), "the plan to which cancelling changes");
                Cancel::SelectFreePlan
            }
            ("AT_PERIOD_END", _) => Cancel::AtPeriodEnd,
            _ => {
                self.fault(
                    path("cancel_operation"),
                    "SELECT_FREE_PLAN or AT_PERIOD_END",
                );
                Cancel::AtPeriodEnd
            }
        };
        self.unless(
            matches!(approval, "REQUIRED" | "NOT_REQUIRED"),
            format!("run_approval.{code}"),
            "REQUIRED or NOT_REQUIRED",
        );
        let rules = family
            .change_rules
            .iter()
            .enumerate()
            .map(|(n, rule)| {
                let at = path(&format!("change_rules[{n}]"));
                let read = self.rule(&at, rule, (code, plans));
                self.rule_of_mode(&at, rule, in_arrears);
                let upgrade = read.when.direction == Some(Direction::Upgrade);
                let family = family.proration.upgrade.as_deref() == Some("PRORATED_DIFFERENCE");
                Rule {
                    prorated: read.prorated || (upgrade && family),
                    ..read
                }
            })
            .collect::<Vec<Rule>>();
        let mut upgrades = rules.iter();
        let charged = upgrades.any(|it| it.prorated && it.outcome == Some(Effect::Immediate));
        self.only(
            charged || proration.upgrade.is_none(),
            path("proration.UPGRADE"),
            "a rule for the direction UPGRADE whose effect is IMMEDIATE",
        );
        Family {
            code: code.to_owned(),
            currency: self.currency(&path("currency"), &family.currency),
            zone: self.zone(&path("time_zone"), &family.time_zone),
            in_arrears,
            excluded_categories: family.usage_excluded_categories.clone().unwrap_or_default(),
            prorated_daily: daily,
            rounding,
            usage_grace_hours: grace_hours,
            runs_automatically: in_arrears && schedule != Some("MANUAL"),
            run_approval_required: approval == "REQUIRED",
            default_plan: family.default_plan.clone(),
            cancel,
            confirmations_required: family.confirmations_required,
            quote_ttl_minutes: family.quote_ttl_minutes,
            rules,
            cycles: self.cycles(&path("billing_cycles"), family, in_arrears),
            renewal_retry_days: self.retry_days(&path("renewal_retry_days"), family),
            pending_replaceable: family
                .pending_change
                .as_ref()
                .is_none_or(|it| it.replaceable),
            pending_withdrawable: family
                .pending_change
                .as_ref()
                .is_none_or(|it| it.withdrawable),
        }
    }

    /// Checks that a key names a plan of its family. A missing plan is reported once, where it is first named.
    fn names_plan(&mut self, path: String, (family, plan): (&str, &str), plans: &[Plan]) {
        let at = format!("{}.{plan}", section(family));
        let section_is_told = self.told.contains(&section(family));
        if section_is_told || plans.iter().any(|it| it.code == plan) || self.is_told(&at) {
            return;
        }
        self.fault(path, "a plan of the family");
        self.told.push(at);
    }

    /// Checks the keys of a family that apply only to its billing mode.
    fn of_mode(&mut self, code: &str, family: &FamilyDocument, in_arrears: bool) {
        let path = |key: &str| format!("families.{code}.{key}");
        let (paid, billed) = (!in_arrears, in_arrears);
        let proration = &family.proration;
        let arrears = "the family is billed in arrears";
        for (key, present) in [
            ("free_plan", family.free_plan.is_some()),
            ("usage_pool", family.usage_pool.is_some()),
            (
                "usage_excluded_categories",
                family.usage_excluded_categories.is_some(),
            ),
            (
                "usage_close_grace_hours",
                family.usage_close_grace_hours.is_some(),
            ),
            ("proration.start_day", proration.start_day.is_some()),
            ("proration.same_day_rule", proration.same_day_rule.is_some()),
            ("proration.usage_base", proration.usage_base.is_some()),
            ("proration.rounding", proration.rounding.is_some()),
        ] {
            self.heard(
                billed,
                present,
                path(key),
                "the family is billed in advance",
            );
        }
        for (key, present) in [
            ("cancel_to_mode", family.cancel_to_mode.is_some()),
            ("month_end_rule", family.month_end_rule.is_some()),
            (
                "over_quota_on_downgrade",
                family.over_quota_on_downgrade.is_some(),
            ),
            ("renewal_retry_days", family.renewal_retry_days.is_some()),
            (
                "monthly_minimum_mode",
                family.monthly_minimum_mode.is_some(),
            ),
            ("billing_cycles", !family.billing_cycles.is_empty()),
            ("proration.UPGRADE", proration.upgrade.is_some()),
        ] {
            self.heard(paid, present, path(key), arrears);
        }
        let cancel = if in_arrears {
            "SELECT_FREE_PLAN"
        } else {
            "AT_PERIOD_END"
        };
        let right = family.cancel_operation == cancel;
        self.only(right, path("cancel_operation"), cancel);
        let pool = family.usage_pool.as_deref().unwrap_or_default();
        let whole = POOL.iter().all(|it| pool.iter().any(|one| one == it));
        let none = family.usage_pool.is_none();
        self.only(none || whole, path("usage_pool"), POOL.join(", "));
        let one = family.pending_change.as_ref().is_none_or(|it| it.max == 1);
        self.only(
            one,
            path("pending_change.max"),
            "1: a new change replaces it",
        );
    }

    /// Checks the keys of a rule that apply only to the family's billing mode or to the rule's effect.
    fn rule_of_mode(&mut self, path: &str, rule: &RuleDocument, in_arrears: bool) {
        let at = |key: &str| format!("{path}.{key}");
        let when = &rule.when;
        for (key, present) in [
            ("when.change", when.change.is_some()),
            ("when.from_mode", when.from_mode.is_some()),
            ("when.has_contract_offer", when.has_contract_offer.is_some()),
        ] {
            self.heard(
                !in_arrears,
                present,
                at(key),
                "the family is billed in arrears",
            );
        }
        let governed = when.governed_by.is_some();
        let why = "plans paid in advance are not governed by multi-account contracts";
        self.heard(in_arrears, governed, at("when.governed_by"), why);
        if self.is_told(&at("effect")) {
            self.told.extend([at("reason"), at("charge")]);
            return;
        }
        let on_payment = rule.effect == "IMMEDIATE_ON_PAYMENT";
        self.only(
            !(in_arrears && on_payment),
            at("effect"),
            "another effect: a plan billed in arrears is not paid in advance",
        );
        let difference = rule.charge.is_some() && !in_arrears && rule.effect == "IMMEDIATE";
        let why = "only an IMMEDIATE change of a plan paid in advance charges a difference";
        self.heard(difference, rule.charge.is_some(), at("charge"), why);
        let rejects = rule.effect == "REJECT";
        let why = "only a rule with the effect REJECT has a reason";
        self.heard(rejects, !rule.reason.is_empty(), at("reason"), why);
    }

    /// Ascending days after the failed renewal, at most a year.
    fn retry_days(&mut self, path: &str, family: &FamilyDocument) -> Vec<i32> {
        let days = family.renewal_retry_days.clone().unwrap_or_default();
        let rising = days.is_sorted_by(|a, b| a < b);
        let within = days.iter().all(|day| (1..=365).contains(day));
        self.unless(rising && within, path, "ascending days from 1 to 365");
        days
    }

    /// The discounts: 0 for the shortest cycle, and more for each longer one, so that a longer cycle is always cheaper
    /// per month (C-24).
    fn cycles(
        &mut self,
        path: &str,
        family: &FamilyDocument,
        in_arrears: bool,
    ) -> BTreeMap<String, Cycle> {
        let cycles = &family.billing_cycles;
        self.named_cycles(path, family);
        let mut by_length: Vec<&CycleDocument> = cycles.values().collect();
        by_length.sort_by_key(|cycle| cycle.months);
        let free = by_length
            .first()
            .is_none_or(|shortest| shortest.discount_bps == 0);
        let rising =
            by_length.is_sorted_by(|a, b| a.months < b.months && a.discount_bps < b.discount_bps);
        self.unless(
            free && rising,
            path,
            "0 for the shortest cycle, and more for each longer one",
        );
        self.unless(
            in_arrears || !cycles.is_empty(),
            path,
            "at least one cycle for a family billed in advance",
        );
        for (code, cycle) in cycles {
            self.unless(
                (1..=120).contains(&cycle.months),
                format!("{path}.{code}.months"),
                "1 to 120",
            );
            self.unless(
                cycle.discount_bps < 10_000,
                format!("{path}.{code}.discount_bps"),
                "below 10000",
            );
        }
        let typed = |cycle: &CycleDocument| Cycle {
            months: cycle.months,
            discount_bps: cycle.discount_bps,
        };
        cycles
            .iter()
            .map(|(code, cycle)| (code.clone(), typed(cycle)))
            .collect()
    }

    /// Checks that the cycles are those that `cycle_discount_constraint` names, in its order.
    fn named_cycles(&mut self, path: &str, family: &FamilyDocument) {
        let Some(rule) = family.cycle_discount_constraint.as_deref() else {
            return;
        };
        let names = rule.strip_prefix("0 = ").unwrap_or_default();
        let named: Vec<&str> = names.split(" < ").filter(|it| !it.is_empty()).collect();
        let at = path.replace("billing_cycles", "cycle_discount_constraint");
        self.only(
            !named.is_empty(),
            at,
            "0 = the shortest cycle < the next one < the longest",
        );
        if named.is_empty() {
            return;
        }
        for code in named
            .iter()
            .filter(|it| !family.billing_cycles.contains_key(**it))
        {
            let why = "a cycle, since cycle_discount_constraint names it";
            self.only(false, format!("{path}.{code}"), why);
        }
        let mut by_length: Vec<(u32, &str)> = family
            .billing_cycles
            .iter()
            .map(|(code, cycle)| (cycle.months, code.as_str()))
            .collect();
        by_length.sort_unstable();
        let lengths: Vec<&str> = by_length.into_iter().map(|(_, code)| code).collect();
        let why = "the cycles of cycle_discount_constraint, each longer than the one before";
        self.only(lengths == named, path, why);
    }

    fn rule(&mut self, path: &str, rule: &RuleDocument, (family, plans): (&str, &[Plan])) -> Rule {
        let outcome = match rule.effect.as_str() {
            "REJECT" => None,
            "IMMEDIATE" => Some(Effect::Immediate),
            "IMMEDIATE_ON_PAYMENT" => Some(Effect::ImmediateOnPayment),
            "NEXT_CYCLE" => Some(Effect::NextCycle),
            "NEXT_RENEWAL" => Some(Effect::NextRenewal),
            _ => {
                self.fault(
                    format!("{path}.effect"),
                    "REJECT, IMMEDIATE, IMMEDIATE_ON_PAYMENT, NEXT_CYCLE or NEXT_RENEWAL",
                );
                None
            }
        };
        self.unless(
            outcome.is_some() || !rule.reason.is_empty(),
            format!("{path}.reason"),
            "a reason, since the effect is REJECT",
        );
        let when = &rule.when;
        for (key, plan) in [("from_plan", &when.from_plan), ("to_plan", &when.to_plan)] {
            if let Some(plan) = plan {
                self.names_plan(format!("{path}.when.{key}"), (family, plan), plans);
            }
        }
        let at = |key: &str| format!("{path}.when.{key}");
        let governed_by = when.governed_by.as_deref();
        let actor = when.actor.as_deref();
        let direction = when.direction.as_deref();
        let from_mode = when.from_mode.as_deref();
        let change = when.change.as_deref();
        let when = Conditions {
            governed_by: governed_by.and_then(|word| {
                self.named(at("governed_by"), word, Governor::ALL, Governor::as_str)
            }),
            actor: actor.and_then(|word| self.named(at("actor"), word, Actor::ALL, Actor::as_str)),
            from_plan: when.from_plan.clone(),
            to_plan: when.to_plan.clone(),
            direction: direction.and_then(|word| {
                self.named(at("direction"), word, Direction::ALL, Direction::as_str)
            }),
            has_contract_offer: when.has_contract_offer,
            from_mode: from_mode
                .and_then(|word| self.named(at("from_mode"), word, Mode::ALL, Mode::as_str)),
            change: change.and_then(|word| {
                self.named(at("change"), word, ChangeKind::ALL, ChangeKind::as_str)
            }),
        };
        let charge = rule.charge.as_deref();
        self.unless(
            matches!(charge, None | Some("NONE" | "PRORATED_DIFFERENCE")),
            format!("{path}.charge"),
            "NONE or PRORATED_DIFFERENCE",
        );
        Rule {
            when,
            outcome,
            prorated: charge == Some("PRORATED_DIFFERENCE"),
            reason: rule.reason.clone(),
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the path of the section and what it refers to"
    )]
    fn plans(
        &mut self,
        family: &str,
        policy: &FamilyDocument,
        section: &str,
        value: Option<&Value>,
        features: &BTreeMap<String, Feature>,
    ) -> Vec<Plan> {
        let Some(value) = value else {
            if self.told.contains(&format!("families.{family}")) {
                self.told.push(section.to_owned());
            }
            self.fault(section, format!("the plans of {family}"));
            return Vec::new();
        };
        let documents: BTreeMap<String, PlanDocument> =
            match serde_yaml_ng::from_value(value.clone()) {
                Ok(documents) => documents,
                Err(error) => {
                    self.fault(section, short(&error.to_string()));
                    return Vec::new();
                }
            };
        // An invalid currency is reported where the family is checked.
        let currency = policy.currency.parse().unwrap_or(Currency::Usd);
        let plans: Vec<Plan> = documents
            .iter()
            .map(|(code, plan)| {
                let path = format!("{section}.{code}");
                // If the default plan itself is missing, that is reported instead.
                let first =
                    policy.default_plan == *code || !documents.contains_key(&policy.default_plan);
                self.plan_of_mode(&path, plan, (first, policy));
                self.plan(family, &path, code, plan, (currency, features))
            })
            .collect();
        self.minimums_rise(section, &plans);
        plans
    }

    /// Checks the keys of a plan that apply only to the family's billing mode or to its default plan.
    fn plan_of_mode(
        &mut self,
        path: &str,
        plan: &PlanDocument,
        (first, policy): (bool, &FamilyDocument),
    ) {
        let at = |key: &str| format!("{path}.{key}");
        let in_arrears = policy.billing_mode == "ARREARS";
        let why = "the price of a plan paid in advance is its entitlement monthly_minimum";
        self.heard(in_arrears, plan.charge.is_some(), at("charge"), why);
        let minimum = plan.entitlements.contains_key("monthly_minimum");
        let why = "the price of a plan billed in arrears is its charge";
        self.heard(
            !in_arrears,
            minimum,
            at("entitlements.monthly_minimum"),
            why,
        );
        for (key, present) in [
            (
                "minimum_initial_credit",
                plan.minimum_initial_credit.is_some(),
            ),
            ("addons", !plan.addons.is_empty()),
            (
                "contract_terms_months",
                !plan.contract_terms_months.is_empty(),
            ),
        ] {
            self.heard(
                !in_arrears,
                present,
                at(key),
                "the family is billed in arrears",
            );
        }
        let why = "accounts do not start on this plan";
        self.heard(first, plan.trial.is_some(), at("trial"), why);
        let sold = plan.quote_only;
        let why = "only a quote_only plan is sold by contract";
        for (key, present) in [
            ("contact", !plan.contact.is_empty()),
            (
                "contract_terms_months",
                !plan.contract_terms_months.is_empty(),
            ),
        ] {
            self.heard(sold, present, at(key), why);
        }
        for priority in plan.first_response.keys() {
            let known = PRIORITIES.contains(&priority.as_str());
            let expected = PRIORITIES.join(" or ");
            self.only(known, at(&format!("first_response.{priority}")), expected);
        }
        // An amount, unless a contract sets it.
        let mut values = plan.entitlements.iter();
        if let Some((code, _)) = values.find(|(_, it)| it.as_str() == Some("CONTRACT")) {
            let why = "a value: only a quote_only plan leaves it to a contract";
            self.only(sold, at(&format!("entitlements.{code}")), why);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "the path of the plan and what it refers to"
    )]
    fn plan(
        &mut self,
        family: &str,
        path: &str,
        code: &str,
        plan: &PlanDocument,
        (currency, features): (Currency, &BTreeMap<String, Feature>),
    ) -> Plan {
        self.unless(0 <= plan.rank, format!("{path}.rank"), "0 or more");
        let priced = plan.charge.is_some() || plan.entitlements.contains_key("monthly_minimum");
        self.unless(priced, path, "a charge, or the entitlement monthly_minimum");
        let mut entitlements = BTreeMap::new();
        if !plan.entitlements.is_empty() {
            for code in features
                .keys()
                .filter(|code| !plan.entitlements.contains_key(*code))
            {
                if self.is_told(&format!("entitlement_types.{code}")) {
                    continue;
                }
                self.fault(
                    format!("{path}.entitlements.{code}"),
                    "a value for each entitlement type",
                );
            }
        }
        for (feature, value) in &plan.entitlements {
            let at = format!("{path}.entitlements.{feature}");
            let value = canonical(value);
            // The fault of an invalid type is reported at the type.
            if self.is_told(&format!("entitlement_types.{feature}")) {
                continue;
            }
            match (features.get(feature), value) {
                (Some(typed), Some(value)) if typed.admits(&value) => {
                    entitlements.insert(feature.clone(), value);
                }
                (Some(typed), _) => {
                    self.fault(at, format!("a value of kind {}", typed.kind().as_str()));
                }
                (None, _) => self.fault(at, "one of entitlement_types"),
            }
        }
        let responses = plan.first_response.iter().map(|(priority, target)| {
            let target = target.as_ref();
            let always = target.is_some_and(|target| target.clock == "ALWAYS");
            let clock = target.is_none_or(|target| always || target.clock == "BUSINESS_HOURS");
            self.unless(
                clock,
                format!("{path}.first_response.{priority}.clock"),
                "ALWAYS or BUSINESS_HOURS",
            );
            let minutes = target.map_or(0, |target| target.minutes);
            self.unless(
                0 <= minutes,
                format!("{path}.first_response.{priority}.minutes"),
                "0 or more",
            );
            Response {
                priority: priority.clone(),
                minutes,
                always,
            }
        });
        let responses = responses.collect();
        let monthly_minimum = entitlements
            .get("monthly_minimum")
            .filter(|text| *text != "CONTRACT")
            .cloned();
        let monthly_minimum = monthly_minimum.map(|text| {
            let at = format!("{path}.entitlements.monthly_minimum");
            self.money(&at, &text, currency)
        });
        let terms = &plan.contract_terms_months;
        self.unless(
            terms.iter().all(|months| (1..=120).contains(months)),
            format!("{path}.contract_terms_months"),
            "1 to 120 each",
        );
        // Every entitlement with the value ADDON needs a price, and only those have one.
        let sold = entitlements.iter().filter(|(_, value)| *value == "ADDON");
        for (code, _) in sold.filter(|(code, _)| !plan.addons.contains_key(*code)) {
            self.fault(format!("{path}.addons.{code}"), "its price");
        }
        let add_ons = plan.addons.iter().map(|(code, it)| {
            let at = format!("{path}.addons.{code}");
            let offered = entitlements.get(code).is_some_and(|value| value == "ADDON");
            self.unless(offered, at.clone(), "an entitlement of value ADDON");
            let price = self.money(&format!("{at}.monthly"), &it.monthly, currency);
            self.unless(
                0 < price.minor(),
                format!("{at}.monthly"),
                "an amount above zero",
            );
            (code.clone(), price)
        });
        let add_ons = add_ons.collect();
        Plan {
            add_ons,
            monthly_minimum,
            contract_terms_months: terms.clone(),
            trial: plan
                .trial
                .as_ref()
                .map(|it| self.trial(&format!("{path}.trial"), it, currency)),
            family: family.to_owned(),
            code: code.to_owned(),
            rank: plan.rank,
            charge: plan
                .charge
                .as_ref()
                .map(|charge| self.charge(&format!("{path}.charge"), charge, currency)),
            channels: plan.channels.clone(),
            responses,
            self_serve_purchase: plan.self_serve.purchase,
            self_serve_cancel: plan.self_serve.cancel,
            action_label: plan.buy_label.clone().unwrap_or_else(|| "Buy".to_owned()),
            available: plan.available,
            account_manager: plan.technical_account_manager,
            entitlements,
            quote_only: plan.quote_only,
            contact: plan.contact.clone(),
            minimum_initial_credit: plan
                .minimum_initial_credit
                .as_ref()
                .map(|text| self.money(&format!("{path}.minimum_initial_credit"), text, currency)),
        }
    }

    fn charge(&mut self, path: &str, charge: &ChargeDocument, currency: Currency) -> Charge {
        if self.is_told(&format!("{path}.type")) {
            return Charge::Free;
        }
        let kind = charge.r#type.as_str();
        let percent = kind == "PERCENT_WITH_MINIMUM";
        for (key, read, present) in [
            ("amount", kind == "FLAT", charge.amount.is_some()),
            ("minimum", percent, charge.minimum.is_some()),
            ("maximum", percent, charge.maximum.is_some()),
            ("tiers", percent, !charge.tiers.is_empty()),
        ] {
            let why = format!("a charge of type {kind} has no such key");
            self.heard(read, present, format!("{path}.{key}"), &why);
        }
        match charge.r#type.as_str() {
            "FREE" => Charge::Free,
            "FLAT" => Charge::Flat(self.money(
                &format!("{path}.amount"),
                charge.amount.as_deref().unwrap_or_default(),
                currency,
            )),
            "PERCENT_WITH_MINIMUM" => {
                let minimum = self.money(
                    &format!("{path}.minimum"),
                    charge.minimum.as_deref().unwrap_or_default(),
                    currency,
                );
                let maximum = charge
                    .maximum
                    .as_ref()
                    .map(|text| self.money(&format!("{path}.maximum"), text, currency));
                let ordered = maximum.is_none_or(|maximum| minimum.minor() <= maximum.minor());
                self.unless(ordered, format!("{path}.maximum"), "at least the minimum");
                Charge::Percent {
                    tiers: self.tiers(&format!("{path}.tiers"), &charge.tiers, currency),
                    minimum,
                    maximum,
                }
            }
            _ => {
                self.fault(format!("{path}.type"), "FREE, FLAT or PERCENT_WITH_MINIMUM");
                Charge::Free
            }
        }
    }

    /// Tiers with ascending upper bounds, the last one open, and rates from 0 to 100 % (D10).
    fn tiers(&mut self, path: &str, tiers: &[TierDocument], currency: Currency) -> Vec<Tier> {
        let typed: Vec<Tier> = tiers
            .iter()
            .enumerate()
            .map(|(n, tier)| {
                self.unless(
                    (0..=10_000).contains(&tier.rate_bps),
                    format!("{path}[{n}].rate_bps"),
                    "0 to 10000",
                );
                let up_to = tier.up_to.as_ref().map(|text| {
                    let read = Amount::parse(text, currency)
                        .ok()
                        .filter(|amount| (1..=MICROS_MAX).contains(&amount.micros()));
                    read.unwrap_or_else(|| {
                        self.fault(format!("{path}[{n}].up_to"), "a decimal above zero");
                        Amount::from_micros(0, currency)
                    })
                });
                Tier {
                    up_to,
                    rate_bps: tier.rate_bps,
                }
            })
            .collect();
        let bound = |tier: &Tier| tier.up_to.map_or(i64::MAX, Amount::micros);
        let rising = typed.is_sorted_by(|a, b| bound(a) < bound(b));
        let open = typed.last().is_some_and(|last| last.up_to.is_none());
        self.unless(rising && open, path, "ascending bounds, the last one null");
        typed
    }

    /// Checks that the monthly minimum rises with the rank (REQ-081).
    fn minimums_rise(&mut self, section: &str, plans: &[Plan]) {
        let mut ranked: Vec<(i32, &Plan, i64)> = plans
            .iter()
            .filter_map(|plan| {
                let text = plan.entitlements.get("monthly_minimum")?;
                Some((
                    plan.rank,
                    plan,
                    Amount::parse(text, Currency::Usd).ok()?.micros(),
                ))
            })
            .collect();
        ranked.sort_by_key(|(rank, plan, _)| (*rank, plan.code.clone()));
        for pair in ranked.windows(2) {
            if let [(low, _, less), (high, plan, more)] = pair
                && low < high
            {
                self.unless(
                    less < more,
                    format!("{section}.{}.entitlements.monthly_minimum", plan.code),
                    "more than that of the rank below",
                );
            }
        }
    }

    fn feature(&mut self, code: &str, feature: &FeatureDocument) -> Feature {
        let path = format!("entitlement_types.{code}");
        let kind = self.named(
            format!("{path}.kind"),
            &feature.kind,
            FeatureKind::ALL,
            FeatureKind::as_str,
        );
        let Some(kind) = kind else {
            // The document is refused, whatever the type of its features.
            return Feature::Money;
        };
        let has_order = kind == FeatureKind::Level;
        let has_values = matches!(
            kind,
            FeatureKind::Access | FeatureKind::Set | FeatureKind::Class
        );
        let why = format!("a type of kind {} has no such key", kind.as_str());
        if !self.is_told(&path) {
            let ordered = !feature.order.is_empty();
            self.heard(has_order, ordered, format!("{path}.order"), &why);
            let valued = feature.values.is_some();
            self.heard(has_values, valued, format!("{path}.values"), &why);
            let access = feature.values.as_ref().map(listed);
            let right = access.is_none_or(|it| it == ["NONE", "ADDON", "INCLUDED"]);
            self.only(
                right || kind != FeatureKind::Access,
                format!("{path}.values"),
                "NONE, ADDON, INCLUDED",
            );
        }
        let list = || match &feature.values {
            Some(Value::Sequence(values)) => values.iter().filter_map(canonical).collect(),
            _ => Vec::new(),
        };
        let classes = || match &feature.values {
            Some(Value::Mapping(values)) => values
                .iter()
                .filter_map(|(k, v)| Some((canonical(k)?, canonical(v)?)))
                .collect(),
            _ => Vec::new(),
        };
        match kind {
            FeatureKind::Money => Feature::Money,
            FeatureKind::Quantity => Feature::Quantity,
            FeatureKind::Level => {
                self.unless(
                    1 < feature.order.len(),
                    format!("{path}.order"),
                    "two levels or more",
                );
                Feature::Level(feature.order.clone())
            }
            FeatureKind::Access => Feature::Access,
            FeatureKind::Days => Feature::Days,
            FeatureKind::Set => Feature::Set(list()),
            FeatureKind::Percent => Feature::Percent,
            FeatureKind::Class => Feature::Class(classes()),
        }
    }

    #[expect(clippy::too_many_lines, reason = "checks in the order of the document")]
    fn profile(
        &mut self,
        code: &str,
        profile: &ProfileDocument,
        document: &Document,
        renamed: Option<&String>,
    ) -> Profile {
        let path = |key: &str| format!("account_profiles.{code}.{key}");
        for family in &profile.families {
            let known = document.families.get(family);
            self.unless(
                known.is_some() || renamed == Some(&section(family)),
                path("families"),
                format!("families of the catalogue, not {family}"),
            );
            let one_currency = known.is_none_or(|known| known.currency == profile.currency);
            let told = self.is_told(&format!("families.{family}.currency"));
            self.unless(
                one_currency || told,
                path("currency"),
                format!("the currency of {family}: a ledger never mixes two (C-33)"),
            );
        }
        self.unless(
            !profile.families.is_empty(),
            path("families"),
            "at least one family",
        );
        // All families billed in arrears must share one time zone, so that usage has the same day and month in every
        // run (D18).
        let families = profile.families.iter();
        let mut zones: Vec<&String> = families
            .filter_map(|family| document.families.get(family))
            .filter(|family| family.billing_mode == "ARREARS")
            .map(|family| &family.time_zone)
            .collect();
        zones.dedup();
        let mut modes = profile.families.iter();
        let told = modes.any(|it| self.is_told(&format!("families.{it}.billing_mode")));
        self.unless(
            told || zones.len() <= 1,
            path("families"),
            "families in one time zone, of those that are billed in arrears",
        );
        let gates = profile.kyc.as_ref();
        let (asked, gated) = gates.map_or((true, false), |it| (it.required, !it.gates.is_empty()));
        self.heard(asked, gated, path("kyc.gates"), "KYC is not required");
        let waits = gates.is_none() || !asked || gated;
        self.only(
            waits,
            path("kyc.gates"),
            "the capabilities that require an approved KYC",
        );
        for (action, roles) in &profile.permissions {
            for role in roles.iter().filter(|role| !profile.roles.contains(role)) {
                self.fault(
                    path(&format!("permissions.{action}")),
                    format!("roles of the profile, not {role}"),
                );
            }
        }
        let order = &profile.balance.consume_order;
        let mut sorted = order.clone();
        sorted.sort();
        self.unless(
            sorted == LOTS,
            path("balance.consume_order"),
            "TRIAL, PROMO and PAID in some order",
        );
        let issuers: Vec<&String> = document
            .issuers
            .iter()
            .filter(|(_, issuer)| issuer.profiles.iter().any(|it| it == code))
            .map(|(code, _)| code)
            .collect();
        self.unless(
            issuers.len() == 1,
            path("issuer"),
            "a profile that exactly one of issuers names",
        );
        let currency = self.currency(&path("currency"), &profile.currency);
        Profile {
            code: code.to_owned(),
            currency,
            balance: self.balance(code, &profile.balance, currency),
            invoiced: self.invoiced(code, profile.invoiced.as_ref()),
            refund: profile
                .refund
                .as_ref()
                .map(|refund| self.refund(code, refund, currency)),
            auto_recharge: profile
                .auto_recharge
                .as_ref()
                .map(|it| self.auto_recharge(code, it, currency)),
            trial: profile
                .trial
                .as_ref()
                .map(|it| self.trial(&path("trial"), it, currency)),
            kyc_gates: profile
                .kyc
                .as_ref()
                .filter(|kyc| kyc.required)
                .map(|kyc| kyc.gates.clone())
                .unwrap_or_default(),
            dlt_countries: profile
                .dlt
                .as_ref()
                .map(|dlt| dlt.required_for_sms_to.clone())
                .unwrap_or_default(),
            checklist: profile.advisory_checklist.clone(),
            limited: profile
                .limited_mode
                .as_ref()
                .map(|it| self.limited(code, it)),
            close: profile.close.as_ref().map(|it| self.close(code, it)),
            soft_close: profile
                .soft_close
                .as_ref()
                .map(|it| self.soft_close(code, it)),
            zone: self.zone(&path("time_zone"), &profile.time_zone),
            families: profile.families.clone(),
            roles: profile.roles.clone(),
            permissions: profile.permissions.clone(),
            max_subaccounts: profile.max_subaccounts,
            max_trial_accounts: self.bound(
                path("max_trial_accounts"),
                profile.max_trial_accounts,
                MAX_TRIAL_ACCOUNTS,
            ),
            max_resources: self.bound(path("max_resources"), profile.max_resources, MAX_RESOURCES),
            consume_order: order.clone(),
            issuer: issuers
                .first()
                .map_or(String::new(), |code| (*code).clone()),
        }
    }

    fn issuer(&mut self, code: &str, issuer: &IssuerDocument, document: &Document) -> Issuer {
        let path = |key: &str| format!("issuers.{code}.{key}");
        let start = format!("2000-{}", issuer.fiscal_year_start)
            .parse::<NaiveDate>()
            .ok();
        let month = start
            .filter(|day| chrono::Datelike::day(day) == 1)
            .map(|day| chrono::Datelike::month(&day));
        self.unless(
            month.is_some(),
            path("fiscal_year_start"),
            "the first of a month, such as 04-01",
        );
        for profile in issuer
            .profiles
            .iter()
            .filter(|profile| !document.account_profiles.contains_key(*profile))
        {
            self.fault(
                path("profiles"),
                format!("profiles of the catalogue, not {profile}"),
            );
        }
        let country =
            issuer.country.len() == 2 && issuer.country.bytes().all(|b| b.is_ascii_uppercase());
        self.unless(country, path("country"), "an ISO 3166-1 code");
        let prefix = &issuer.number_prefix;
        let short = prefix.len() == 2
            && prefix
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        let mut issuers = document.issuers.iter();
        let own = issuers.all(|(other, it)| other == code || &it.number_prefix != prefix);
        self.only(
            short && own,
            path("number_prefix"),
            "two capital letters or digits that no other issuer has",
        );
        Issuer {
            code: code.to_owned(),
            name: issuer.name.clone(),
            address: issuer.address.clone(),
            tax_id: issuer.tax_id.clone().unwrap_or_default(),
            country: issuer.country.clone(),
            state_code: issuer.state.clone(),
            number_prefix: issuer.number_prefix.clone(),
            tax_id_label: issuer.tax_id_label.clone(),
            invoice_title: issuer.invoice_title.clone(),
            reverse_charge_note: issuer.reverse_charge_note.clone(),
            export_statement: issuer.export_statement.clone(),
            signature_note: issuer.signature_note.clone(),
            fiscal_year_start_month: month
                .and_then(|month| i32::try_from(month).ok())
                .unwrap_or(1),
            holidays: document
                .holiday_calendars
                .get(&issuer.country)
                .into_iter()
                .flatten()
                .filter_map(|day| day.parse().ok())
                .collect(),
        }
    }
}

/// A scalar or a list in the text form of entitlements; `None` for anything else.
fn canonical(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Sequence(values) => Some(
            values
                .iter()
                .map(canonical)
                .collect::<Option<Vec<_>>>()?
                .join(","),
        ),
        Value::Bool(_) | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIPPED: &str = include_str!("../../../tests/data/catalogue.yaml");

    /// Asserts that the shipped catalogue has a fault at `path` once `from` is replaced by `to`.
    #[track_caller]
    fn check(from: &str, to: &str, path: &str) {
        assert!(SHIPPED.contains(from), "{from}");
        let faults = read_new(&SHIPPED.replacen(from, to, 1))
            .err()
            .unwrap_or_default();
        assert!(
            faults.iter().any(|fault| fault.path.contains(path)),
            "{path}: {faults:?}"
        );
        assert!(faults.iter().all(|it| it.line.is_some()), "{faults:?}");
    }

    /// The paths of all faults of the shipped catalogue after the replacements.
    fn told(replacements: &[(&str, &str)]) -> Vec<String> {
        let mut text = SHIPPED.to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "{from}");
            text = text.replacen(from, to, 1);
        }
        let faults = read_new(&text).err().unwrap_or_default();
        faults.into_iter().map(|it| it.path).collect()
    }

    #[test]
    fn req_134_one_faulty_key_is_one_fault() {
        for (from, to, path) in [
            (
                "billing_mode: ARREARS",
                "billing_mode: SOMEHOW",
                "families.SUPPORT.billing_mode",
            ),
            (
                "time_zone: UTC ",
                "timezone: UTC ",
                "families.SUPPORT.timezone",
            ),
            (
                "currency: USD ",
                "currency: XYZ ",
                "families.SUPPORT.currency",
            ),
            (
                "  developer:\n    rank",
                "  developr:\n    rank",
                "families.SUPPORT.default_plan",
            ),
            ("    rank: 0\n", "", "support_plans.developer.rank"),
            (
                "  phone_numbers:         {kind",
                "  phone_number:         {kind",
                "entitlement_types.phone_numbers",
            ),
            (
                "{kind: QUANTITY}",
                "{kind: NUMBER}",
                "entitlement_types.phone_numbers.kind",
            ),
            (
                "charge: {type: FLAT",
                "charge: {type: FIXED",
                "support_plans.production_flat.charge.type",
            ),
            (
                "mode: TOP_UP_TO",
                "mode: TOP_UP",
                "account_profiles.global.auto_recharge.mode",
            ),
            ("  SUPPORT:   ", "  SUPORT:   ", "families.SUPORT"),
            (
                "effect: IMMEDIATE}",
                "effect: WHENEVER}",
                "families.SUPPORT.change_rules[3].effect",
            ),
            (
                "rate_bps: 600",
                "rate_bps: \"600\"",
                "support_plans.business.charge.tiers[0].rate_bps",
            ),
        ] {
            assert_eq!(told(&[(from, to)]), [path], "{to}");
        }
    }

    #[test]
    fn req_134_all_independent_faults_are_told_at_once() {
        let all = [
            ("confirmations_required: 2", "confirmation_required: 2"),
            ("at_zero: SUSPEND", "at_zero: IGNORE"),
            ("minimum: \"1500.00\"", "minimum: \"1500.001\""),
            ("fee_bps: 500", "fee_bps: -1"),
            ("settlement: DELAYED", "settlement: SLOW"),
        ];
        let mut paths = told(&all);
        paths.sort();
        let expected = [
            "account_profiles.global.balance.at_zero",
            "account_profiles.india.refund.fee_bps",
            "families.SUPPORT.confirmation_required",
            "payment_methods.WIRE.settlement",
            "support_plans.business.charge.minimum",
        ];
        assert_eq!(paths, expected);
    }

    #[expect(clippy::too_many_lines, reason = "a table with one line per key")]
    #[test]
    fn a_key_that_would_do_nothing_is_refused() {
        for (from, to, path) in [
            (
                "mode: DAILY ",
                "mode: NONE ",
                "families.SUPPORT.proration.mode",
            ),
            (
                "proration: {mode: NONE}",
                "proration: {mode: DAILY}",
                "families.PLATFORM.proration.mode",
            ),
            (
                "[SELF, SUBACCOUNTS, CONTRACT_MEMBERS]",
                "[SELF, SUBACCOUNTS]",
                "families.SUPPORT.usage_pool",
            ),
            (
                "      QUARTERLY: {months: 3,  discount_bps: 500}",
                "",
                "families.PLATFORM.billing_cycles.QUARTERLY",
            ),
            (
                "\"0 = MONTHLY < QUARTERLY < ANNUAL\"",
                "\"0 = MONTHLY < ANNUAL\"",
                "families.PLATFORM.billing_cycles",
            ),
            (
                "\"0 = MONTHLY < QUARTERLY < ANNUAL\"",
                "\"longer is cheaper\"",
                "families.PLATFORM.cycle_discount_constraint",
            ),
            (
                "monthly_minimum: \"2000.00\"",
                "monthly_minimum: CONTRACT",
                "platform_plans.starter.entitlements.monthly_minimum",
            ),
            (
                "pending_change: {max: 1",
                "pending_change: {max: 2",
                "families.PLATFORM.pending_change.max",
            ),
            (
                "- {when: {}, effect: IMMEDIATE}",
                "- {when: {}, effect: IMMEDIATE_ON_PAYMENT}",
                "families.SUPPORT.change_rules[3].effect",
            ),
            (
                "- {when: {}, effect: IMMEDIATE}",
                "- {when: {}, effect: IMMEDIATE, charge: PRORATED_DIFFERENCE}",
                "families.SUPPORT.change_rules[3].charge",
            ),
            (
                "effect: NEXT_RENEWAL}",
                "effect: NEXT_RENEWAL, reason: CONTACT_SALES}",
                "families.PLATFORM.change_rules[4].reason",
            ),
            (
                "proration: {mode: NONE}",
                "proration: {mode: NONE, UPGRADE: PRORATED_DIFFERENCE}",
                "families.PLATFORM.proration.UPGRADE",
            ),
            (
                "terms: [NET_15]",
                "terms: [NET_15, NET_30]",
                "account_profiles.india.invoiced.terms",
            ),
            (
                "run_approval: {SUPPORT: NOT_REQUIRED}",
                "run_approval: {PLATFORM: REQUIRED}",
                "run_approval.PLATFORM",
            ),
            (
                "charge: {type: FREE}",
                "charge: {type: FREE, amount: \"1.00\"}",
                "support_plans.developer.charge.amount",
            ),
            (
                "plans: [enterprise], countries",
                "plans: [entreprise], countries",
                "payment_methods.WIRE.plans",
            ),
            (
                "expected_business_days: 2, ",
                "",
                "payment_methods.WIRE.expected_business_days",
            ),
            (
                "{kind: QUANTITY}",
                "{kind: QUANTITY, order: [A, B]}",
                "entitlement_types.phone_numbers.order",
            ),
            (
                "  IN: [\"2026-01-26\"",
                "  SG: [\"2026-01-26\"",
                "holiday_calendars.SG",
            ),
            (
                "kyc: {required: true,",
                "kyc: {required: false,",
                "account_profiles.india.kyc.gates",
            ),
        ] {
            assert_eq!(told(&[(from, to)]), [path], "{to}");
        }
    }

    #[test]
    fn codes_of_invoice_lines_are_digits_for_what_lines_charge_for() {
        let shipped = "CREDITS: \"998419\"";
        for (wrong, path) in [
            ("CREDITS: \"99841\"", "tax.IN.line_codes.CREDITS"),
            ("CREDITS: \"SAC998419\"", "tax.IN.line_codes.CREDITS"),
            ("RENTAL: \"998419\"", "tax.IN.line_codes.RENTAL"),
        ] {
            assert_eq!(told(&[(shipped, wrong)]), [path], "{wrong}");
        }
    }

    #[test]
    fn each_issuer_has_a_number_prefix_of_two_characters_of_its_own() {
        let shipped = "number_prefix: IN";
        for (wrong, path) in [
            ("number_prefix: IND", "issuers.india_pvt.number_prefix"),
            ("number_prefix: in", "issuers.india_pvt.number_prefix"),
        ] {
            assert_eq!(told(&[(shipped, wrong)]), [path], "{wrong}");
        }
        let same = told(&[(shipped, "number_prefix: GL")]);
        assert_eq!(
            same,
            [
                "issuers.global_inc.number_prefix",
                "issuers.india_pvt.number_prefix"
            ]
        );
        let before = SHIPPED.replacen("number_prefix: IN, ", "", 1);
        assert!(read_new(&before).is_err() && read(&before).is_ok());
    }

    #[test]
    fn what_was_taken_before_still_reads() {
        let before = SHIPPED.replacen("gsm_part: 153", "gsm_part: 140", 1);
        assert!(read_new(&before).is_err() && read(&before).is_ok());
    }

    #[test]
    fn the_shipped_catalogue_passes() {
        let catalogue = read_new(SHIPPED).unwrap();
        assert_eq!(catalogue.families.len(), 2);
        assert_eq!(catalogue.plans_of("PLATFORM").count(), 4);
        assert_eq!(catalogue.plan("SUPPORT", "business").unwrap().rank, 2);
    }

    #[test]
    fn req_081_platform_minimums_must_rise_with_the_rank() {
        check(
            "monthly_minimum: \"10000.00\"",
            "monthly_minimum: \"2000.00\"",
            "growth.entitlements.monthly_minimum",
        );
        check(
            "monthly_minimum: \"2000.00\"",
            "monthly_minimum: \"0.00\"",
            "starter.entitlements.monthly_minimum",
        );
    }

    #[test]
    fn req_099_a_longer_cycle_must_be_cheaper() {
        check(
            "months: 3,  discount_bps: 500",
            "months: 3,  discount_bps: 1500",
            "billing_cycles",
        );
        check(
            "months: 1,  discount_bps: 0",
            "months: 1,  discount_bps: 100",
            "billing_cycles",
        );
    }

    #[test]
    fn money_policies_that_do_not_fit_are_named_by_their_path() {
        check(
            "pulse_seconds: 60",
            "pulse_seconds: 0",
            "rates.voice.pulse_seconds",
        );
        check("gsm_part: 153", "gsm_part: 160", "rates.sms.gsm_part");
        check("rate_bps: 1800", "rate_bps: 18000", "tax.IN.rate_bps");
        check("rate_bps: 1800", "rate_bps: 1801", "tax.IN.rate_bps");
        check("inclusive: false", "inclusive: true", "tax.IN.inclusive");
        check("fee_bps: 500", "fee_bps: -1", "india.refund.fee_bps");
        check(
            "at_zero: SUSPEND",
            "at_zero: IGNORE",
            "global.balance.at_zero",
        );
        check(
            "default_target: \"20.00\"",
            "default_target: \"10.00\"",
            "global.auto_recharge.default_target",
        );
        check(
            "default_maximum: \"100.00\"",
            "default_maximum: \"0.00\"",
            "global.auto_recharge.default_maximum",
        );
        check(
            "default_amount: \"5000.00\"",
            "default_amount: \"5000.00\", default_maximum: \"5000.00\"",
            "india.auto_recharge.default_maximum",
        );
        check(
            "pause_minutes: 1440",
            "pause_minutes: 59",
            "global.auto_recharge.pause_minutes",
        );
    }

    #[expect(clippy::too_many_lines, reason = "a table with one line per key")]
    #[test]
    fn what_does_not_fit_is_named_by_its_path() {
        check(
            "default_plan: developer",
            "default_plan: nothing",
            "families.SUPPORT.default_plan",
        );
        check(
            "free_plan: developer",
            "free_plan: business",
            "families.SUPPORT.free_plan",
        );
        check(
            "time_zone: UTC ",
            "time_zone: Mars ",
            "families.SUPPORT.time_zone",
        );
        check(
            "currency: USD ",
            "currency: XYZ ",
            "families.SUPPORT.currency",
        );
        check("rate_bps: 600", "rate_bps: 10001", "business.charge.tiers");
        check(
            "{up_to: null, rate_bps: 600}",
            "{up_to: \"10.00\", rate_bps: 600}",
            "business.charge.tiers",
        );
        check(
            "minimum: \"1500.00\"",
            "minimum: \"-1500.00\"",
            "business.charge.minimum",
        );
        check(
            "minimum: \"1500.00\"",
            "minimum: \"1500.001\"",
            "business.charge.minimum",
        );
        check(
            "rounding: HALF_UP",
            "rounding: SOMEHOW",
            "proration.rounding",
        );
        check(
            "effect: IMMEDIATE}",
            "effect: WHENEVER}",
            "change_rules[3].effect",
        );
        check(
            "phone_numbers: 5 ",
            "phone_numbers: many ",
            "starter.entitlements.phone_numbers",
        );
        check(
            "fiscal_year_start: \"04-01\"",
            "fiscal_year_start: \"04-31\"",
            "issuers.india_pvt",
        );
        check("close: [OWNER]", "close: [NOBODY]", "permissions.close");
        check(
            "confirmations_required: 2",
            "confirmations_required: 99",
            "confirmations_required",
        );
        check(
            "run_schedule: AUTOMATIC",
            "run_schedule: SOMETIMES",
            "families.SUPPORT.run_schedule",
        );
        check(
            "month_end_rule: ",
            "run_schedule: MANUAL\n    month_end_rule: ",
            "families.PLATFORM.run_schedule",
        );
        check("rates: ", "ratez: ", "ratez");
        check(
            "confirmations_required: 2",
            "confirmation_required: 2",
            "families.SUPPORT.confirmation_required",
        );
    }
}
