//! The catalogue document: YAML as people write it, and every check at its load.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use serde::Deserialize;
use serde_yaml_ng::Value;
use values::{Amount, Currency, Money, Rounding, Zone};

use crate::domain::catalogue::{
    AutoRechargePolicy, BalancePolicy, Cancel, Catalogue, Charge, ClosePolicy, Cycle, Family,
    InvoicedPolicy, Issuer, KycTerms, LimitedPolicy, Plan, Profile, Rates, RefundPolicy, Response,
    SoftClosePolicy, Tax, Tier, TrialPolicy,
};
use crate::domain::change::{Conditions, Effect, Rule};
use crate::domain::entitlement::Feature;

/// A check that a document fails: where, and what would pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path in the document, such as `families.SUPPORT.time_zone`.
    pub path: String,
    /// What would pass.
    pub expected: String,
}

/// Sections that this service does not read; others do.
const OTHER_SECTIONS: [&str; 3] = ["business_hours", "priorities", "payment_methods"];
/// Years for which invoices are kept where the document does not say.
const INVOICE_YEARS: i32 = 8;
/// Days until an invoice is due where the document does not say.
const NET_DAYS: i32 = 30;
/// Days after that on which it is asked for again where the document does not say.
const REMINDER_DAYS: [i32; 3] = [1, 3, 7];
/// The most faults that are told at once.
const MAX_FAULTS: usize = 50;

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
    #[serde(flatten)]
    sections: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "read so that an unknown key is told from one that other services use"
)]
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
    #[serde(default)]
    usage_pool: Vec<String>,
    #[serde(default)]
    usage_excluded_categories: Vec<String>,
    #[serde(default)]
    usage_close_grace_hours: i32,
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
#[expect(dead_code, reason = "read so that an unknown key is told")]
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
    reason = "read so that an unknown key is told from one that other services use"
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
#[expect(dead_code, reason = "read so that an unknown key is told")]
struct InvoicedDocument {
    min_commit_per_year: Option<String>,
    terms: Vec<String>,
    reminder_days: Option<Vec<i32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read so that an unknown key is told")]
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
#[expect(dead_code, reason = "read so that an unknown key is told")]
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
#[expect(dead_code, reason = "read so that an unknown key is told")]
struct ReviewDocument {
    standard: i32,
    manual: i32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDocument {
    types: Vec<String>,
    max_mb: i64,
}

#[derive(Deserialize)]
struct BalanceDocument {
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
#[expect(dead_code, reason = "read so that an unknown key is told")]
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
}

const fn yes() -> bool {
    true
}

/// The catalogue that `text` spells, or every check that it fails (REQ-081, REQ-099, C-24).
pub fn read_new(text: &str) -> Result<Catalogue, Vec<Fault>> {
    read_as(text, true)
}

/// The catalogue that a document spells which was taken before: what is asked of new ones only is not asked of it.
pub fn read(text: &str) -> Result<Catalogue, Vec<Fault>> {
    read_as(text, false)
}

fn read_as(text: &str, new: bool) -> Result<Catalogue, Vec<Fault>> {
    let document: Document = serde_yaml_ng::from_str(text).map_err(|error| {
        vec![Fault {
            path: "document".to_owned(),
            expected: short(&error.to_string()),
        }]
    })?;
    let mut check = Check {
        new,
        faults: Vec::new(),
    };
    let catalogue = check.catalogue(&document);
    check.faults.truncate(MAX_FAULTS);
    if check.faults.is_empty() {
        Ok(catalogue)
    } else {
        Err(check.faults)
    }
}

/// What the parser says, at a length that fits an error detail.
fn short(text: &str) -> String {
    text.chars().take(300).collect()
}

struct Check {
    new: bool,
    faults: Vec<Fault>,
}

impl Check {
    fn fault(&mut self, path: impl Into<String>, expected: impl Into<String>) {
        self.faults.push(Fault {
            path: path.into(),
            expected: expected.into(),
        });
    }

    fn unless(&mut self, right: bool, path: impl Into<String>, expected: impl Into<String>) {
        if !right {
            self.fault(path, expected);
        }
    }

    #[expect(clippy::too_many_lines, reason = "one check after the other")]
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
        let mut known: BTreeSet<String> = OTHER_SECTIONS.map(str::to_owned).into();
        for (code, family) in &document.families {
            let section = format!("{}_plans", code.to_lowercase());
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
            plans.extend(own);
            known.insert(section);
        }
        for section in document
            .sections
            .keys()
            .filter(|section| !known.contains(*section))
        {
            self.fault(section, "a section of the catalogue");
        }
        for (name, days) in &document.holiday_calendars {
            for day in days.iter().filter(|day| day.parse::<NaiveDate>().is_err()) {
                self.fault(
                    format!("holiday_calendars.{name}"),
                    format!("dates, not {day}"),
                );
            }
        }
        for code in document
            .run_approval
            .keys()
            .filter(|code| !document.families.contains_key(*code))
        {
            self.fault(format!("run_approval.{code}"), "a family");
        }
        let issuers: BTreeMap<_, _> = document
            .issuers
            .iter()
            .map(|(code, issuer)| (code.clone(), self.issuer(code, issuer, document)))
            .collect();
        let profiles = document
            .account_profiles
            .iter()
            .map(|(code, profile)| {
                let read = self.profile(code, profile, document);
                // A profile without a trial of its own has that of the plan it begins with.
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
        }
    }

    /// Years for which invoices are kept; every class of documents is checked.
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
        let most = from.max_whitelisted.or(from.max_verified_numbers);
        TrialPolicy {
            duration_days: from.duration_days,
            credit: self.amount(&format!("{path}.credit"), &from.credit, currency),
            max_whitelisted: most.unwrap_or(0),
            max_numbers: from.numbers.unwrap_or(0),
        }
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
        // Answers of before the closing, given again for 30 days, hold what is deleted.
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

    /// Of several terms the first holds.
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
        // Usage is rated for who pays in advance: the prices are in that currency.
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
        // A tax has one part, or two equal ones.
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
        }
    }

    fn amount(&mut self, path: &str, text: &str, currency: Currency) -> Amount {
        let read = Amount::parse(text, currency)
            .ok()
            .filter(|amount| 0 <= amount.micros());
        read.unwrap_or_else(|| {
            self.fault(path, "a decimal of at most 6 places, not negative");
            Amount::from_micros(0, currency)
        })
    }

    fn one_of(&mut self, path: String, text: &str, known: &[&str]) -> String {
        self.unless(known.contains(&text), path, known.join(" or "));
        text.to_owned()
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
        BalancePolicy {
            expire_when_not_paid_days: unpaid_days,
            numbers_at_risk_after_days: risk_days,
            notify_below: self.amount(
                &path("notify_below"),
                from.notify_below.as_deref().unwrap_or("0"),
                currency,
            ),
            at_zero: self.one_of(
                path("at_zero"),
                from.at_zero.as_deref().unwrap_or("SUSPEND"),
                &["SUSPEND", "BLOCK_OUTBOUND"],
            ),
            trial_on_upgrade: self.one_of(
                path("trial_on_upgrade"),
                from.trial_on_upgrade.as_deref().unwrap_or("FORFEIT"),
                &["FORFEIT", "KEEP"],
            ),
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
        RefundPolicy {
            fee_bps: from.fee_bps,
            minimum: self.money(&path("minimum"), &from.minimum, currency),
            due_business_days: from.due_business_days,
            window_days,
            tax_treatment: self.one_of(
                path("tax_treatment"),
                &from.tax_treatment,
                &["EXCLUDE", "PROPORTIONAL"],
            ),
        }
    }

    fn auto_recharge(
        &mut self,
        code: &str,
        from: &AutoRechargeDocument,
        currency: Currency,
    ) -> AutoRechargePolicy {
        let path = |key: &str| format!("account_profiles.{code}.auto_recharge.{key}");
        let tops_up = from.mode == "TOP_UP_TO";
        let (key, amount) = if tops_up {
            ("default_target", &from.default_target)
        } else {
            ("default_amount", &from.default_amount)
        };
        self.unless(amount.is_some(), path(key), "an amount");
        let max_per_month = from.max_per_month.unwrap_or(0);
        self.unless(
            (0..=1_000).contains(&max_per_month),
            path("max_per_month"),
            "0 to 1000",
        );
        let policy = AutoRechargePolicy {
            mode: self.one_of(path("mode"), &from.mode, &["TOP_UP_TO", "ADD_AMOUNT"]),
            default_threshold: self.amount(
                &path("default_threshold"),
                &from.default_threshold,
                currency,
            ),
            min_threshold: self.amount(&path("min_threshold"), &from.min_threshold, currency),
            // It is charged: whole minor units.
            default_amount: self
                .money(&path(key), amount.as_deref().unwrap_or("0"), currency)
                .amount()
                .unwrap_or(Amount::from_micros(0, currency)),
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
        let read = Money::parse(text, currency)
            .ok()
            .filter(|money| 0 <= money.minor());
        read.unwrap_or_else(|| {
            self.fault(
                path,
                format!(
                    "a decimal of at most {} places, not negative",
                    currency.decimals()
                ),
            );
            Money::from_minor(0, currency)
        })
    }

    #[expect(clippy::too_many_lines, reason = "one check after the other")]
    fn family(
        &mut self,
        code: &str,
        family: &FamilyDocument,
        approval: &str,
        plans: &[Plan],
    ) -> Family {
        let path = |key: &str| format!("families.{code}.{key}");
        let has = |plan: &str| plans.iter().any(|it| it.code == plan);
        self.unless(
            has(&family.default_plan),
            path("default_plan"),
            "a plan of the family",
        );
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
        self.unless(
            (0..=720).contains(&family.usage_close_grace_hours),
            path("usage_close_grace_hours"),
            "0 to 720",
        );
        let in_arrears = family.billing_mode == "ARREARS";
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
        let modes = ["DAILY", "NONE", "NONE_FULL_MONTH", "PRORATED_DIFFERENCE"];
        self.unless(
            modes.contains(&proration.mode.as_str()),
            path("proration.mode"),
            modes.join(", "),
        );
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
                let is_free = plans
                    .iter()
                    .any(|plan| plan.code == free && plan.charge == Some(Charge::Free));
                self.unless(
                    is_free,
                    path("free_plan"),
                    "a plan of the family whose charge is FREE",
                );
                Cancel::SelectFreePlan
            }
            ("SELECT_FREE_PLAN", None) => {
                self.fault(path("free_plan"), "the plan that cancelling selects");
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
                let read = self.rule(&path(&format!("change_rules[{n}]")), rule, plans);
                let upgrade = read.when.direction.as_deref() == Some("UPGRADE");
                let family = family.proration.upgrade.as_deref() == Some("PRORATED_DIFFERENCE");
                Rule {
                    prorated: read.prorated || (upgrade && family),
                    ..read
                }
            })
            .collect();
        Family {
            code: code.to_owned(),
            currency: self.currency(&path("currency"), &family.currency),
            zone: self.zone(&path("time_zone"), &family.time_zone),
            in_arrears,
            excluded_categories: family.usage_excluded_categories.clone(),
            prorated_daily: daily,
            rounding,
            usage_grace_hours: family.usage_close_grace_hours,
            run_approval_required: approval == "REQUIRED",
            default_plan: family.default_plan.clone(),
            cancel,
            confirmations_required: family.confirmations_required,
            quote_ttl_minutes: family.quote_ttl_minutes,
            rules,
            cycles: self.cycles(&path("billing_cycles"), &family.billing_cycles, in_arrears),
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

    /// Rising days after the first, at most a year.
    fn retry_days(&mut self, path: &str, family: &FamilyDocument) -> Vec<i32> {
        let days = family.renewal_retry_days.clone().unwrap_or_default();
        let rising = days.is_sorted_by(|a, b| a < b);
        let within = days.iter().all(|day| (1..=365).contains(day));
        self.unless(rising && within, path, "rising days from 1 to 365");
        days
    }

    /// 0 = the shortest < … < the longest: a longer cycle is always cheaper a month (C-24).
    fn cycles(
        &mut self,
        path: &str,
        cycles: &BTreeMap<String, CycleDocument>,
        in_arrears: bool,
    ) -> BTreeMap<String, Cycle> {
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
            "0 = the discount of the shortest, more for each longer one",
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

    #[expect(clippy::too_many_lines, reason = "one check after the other")]
    fn rule(&mut self, path: &str, rule: &RuleDocument, plans: &[Plan]) -> Rule {
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
            "a reason, as the rule rejects",
        );
        let when = &rule.when;
        for (key, plan) in [("from_plan", &when.from_plan), ("to_plan", &when.to_plan)] {
            let known = plan
                .as_deref()
                .is_none_or(|code| plans.iter().any(|plan| plan.code == code));
            self.unless(known, format!("{path}.when.{key}"), "a plan of the family");
        }
        for (key, value, allowed) in [
            (
                "governed_by",
                &when.governed_by,
                ["CONTRACT", "ACCOUNT"].as_slice(),
            ),
            ("actor", &when.actor, &["CUSTOMER", "OPERATOR"]),
            (
                "direction",
                &when.direction,
                &["UPGRADE", "DOWNGRADE", "LATERAL"],
            ),
            (
                "from_mode",
                &when.from_mode,
                &["NORMAL", "DORMANT", "LIMITED"],
            ),
            ("change", &when.change, &["PLAN", "CYCLE_SWITCH"]),
        ] {
            let right = value
                .as_deref()
                .is_none_or(|value| allowed.contains(&value));
            self.unless(right, format!("{path}.when.{key}"), allowed.join(" or "));
        }
        let when = Conditions {
            governed_by: when.governed_by.clone(),
            actor: when.actor.clone(),
            from_plan: when.from_plan.clone(),
            to_plan: when.to_plan.clone(),
            direction: when.direction.clone(),
            has_contract_offer: when.has_contract_offer,
            from_mode: when.from_mode.clone(),
            change: when.change.clone(),
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
        reason = "where it stands and what it refers to"
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
        // A fault of the currency is told where the family is checked.
        let currency = policy.currency.parse().unwrap_or(Currency::Usd);
        let plans: Vec<Plan> = documents
            .iter()
            .map(|(code, plan)| {
                self.plan(
                    family,
                    &format!("{section}.{code}"),
                    code,
                    plan,
                    (currency, features),
                )
            })
            .collect();
        self.minimums_rise(section, &plans);
        plans
    }

    #[expect(
        clippy::too_many_arguments,
        clippy::too_many_lines,
        reason = "where it stands and what it refers to"
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
                self.fault(
                    format!("{path}.entitlements.{code}"),
                    "a value for each entitlement type",
                );
            }
        }
        for (feature, value) in &plan.entitlements {
            let at = format!("{path}.entitlements.{feature}");
            let value = canonical(value);
            match (features.get(feature), value) {
                (Some(typed), Some(value)) if typed.admits(&value) => {
                    entitlements.insert(feature.clone(), value);
                }
                (Some(typed), _) => self.fault(at, format!("a value of kind {}", typed.kind())),
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
        // What is sold beside a plan is what the plan says is to be had so, and has a price there.
        let sold = entitlements.iter().filter(|(_, value)| *value == "ADDON");
        for (code, _) in sold.filter(|(code, _)| !plan.addons.contains_key(*code)) {
            self.fault(format!("{path}.addons.{code}"), "its price");
        }
        let add_ons = plan.addons.iter().map(|(code, it)| {
            let at = format!("{path}.addons.{code}");
            let offered = entitlements.get(code).is_some_and(|value| value == "ADDON");
            self.unless(offered, at.clone(), "an entitlement of value ADDON");
            let price = self.money(&format!("{at}.monthly"), &it.monthly, currency);
            self.unless(0 < price.minor(), format!("{at}.monthly"), "above zero");
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

    /// Rising upper bounds, the last one open; rates of 0 to 100 % (D10).
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
                        .filter(|amount| 0 < amount.micros());
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
        self.unless(rising && open, path, "rising bounds, the last one null");
        typed
    }

    /// 0 < the minimum of each paid plan, rising with the rank (REQ-081).
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
        match feature.kind.as_str() {
            "MONEY" => Feature::Money,
            "QUANTITY" => Feature::Quantity,
            "LEVEL" => {
                self.unless(
                    1 < feature.order.len(),
                    format!("{path}.order"),
                    "two levels or more",
                );
                Feature::Level(feature.order.clone())
            }
            "ACCESS" => Feature::Access,
            "DURATION_DAYS" => Feature::Days,
            "SET" => Feature::Set(list()),
            "PERCENT" => Feature::Percent,
            "CLASS" => Feature::Class(classes()),
            _ => {
                self.fault(
                    format!("{path}.kind"),
                    "MONEY, QUANTITY, LEVEL, ACCESS, DURATION_DAYS, SET, PERCENT or CLASS",
                );
                Feature::Money
            }
        }
    }

    #[expect(clippy::too_many_lines, reason = "one check after the other")]
    fn profile(&mut self, code: &str, profile: &ProfileDocument, document: &Document) -> Profile {
        let path = |key: &str| format!("account_profiles.{code}.{key}");
        for family in &profile.families {
            let known = document.families.get(family);
            self.unless(
                known.is_some(),
                path("families"),
                format!("families of the catalogue, not {family}"),
            );
            let one_currency = known.is_none_or(|known| known.currency == profile.currency);
            self.unless(
                one_currency,
                path("currency"),
                format!("the currency of {family}: a ledger never mixes two (C-33)"),
            );
        }
        self.unless(
            !profile.families.is_empty(),
            path("families"),
            "at least one family",
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
            sorted == ["PAID", "PROMO", "TRIAL"],
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
            "named by exactly one of issuers",
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
        Issuer {
            code: code.to_owned(),
            name: issuer.name.clone(),
            address: issuer.address.clone(),
            tax_id: issuer.tax_id.clone().unwrap_or_default(),
            country: issuer.country.clone(),
            state: issuer.state.clone(),
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

/// A scalar or list as the text that entitlements keep; `None` for what is neither.
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

    /// The shipped catalogue with `from` replaced by `to` fails at `path`.
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
    }

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
            "change_rules[2].effect",
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
        check("rates: ", "ratez: ", "ratez");
        check(
            "confirmations_required: 2",
            "confirmation_required: 2",
            "document",
        );
    }
}
