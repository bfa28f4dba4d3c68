//! Every key and value that a catalogue may contain. Anything else is refused at import; values that are refused for a
//! known reason are listed with it (D31).
//!
//! `tests/data/catalogue-keys.csv` names the test that proves each key; the tests below keep both in step.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_yaml_ng::{Mapping, Value};

use super::Fault;

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A mapping of further keys.
    Keys,
    /// A list of mappings.
    Items,
    /// A text.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number.
    Whole,
    /// A whole number, at least 0.
    Count,
    /// A list of whole numbers.
    Wholes,
    /// A decimal in quotes.
    Decimal,
    /// A boolean.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of these words.
    Words(&'static [&'static str]),
    /// `ANY`, or a list of these words; of any texts if no words are given.
    AnyOr(&'static [&'static str]),
    /// A value that is checked by its entitlement type.
    Value,
}

/// A key.
#[derive(Debug, Clone, Copy)]
struct Key {
    /// Path; `*` stands for any name, `[]` for each element of a list.
    path: &'static str,
    /// Type of its value.
    kind: Kind,
    /// Whether the key is required in its mapping.
    required: bool,
}

/// A refused key or value: its path, the value (empty for any) and the reason.
struct Refused {
    path: &'static str,
    value: &'static str,
    reason: &'static str,
}

const fn must(path: &'static str, kind: Kind) -> Key {
    Key {
        path,
        kind,
        required: true,
    }
}

const fn may(path: &'static str, kind: Kind) -> Key {
    Key {
        path,
        kind,
        required: false,
    }
}

const fn refused(path: &'static str, value: &'static str, reason: &'static str) -> Refused {
    Refused {
        path,
        value,
        reason,
    }
}

use Kind::{
    AnyOr, Count, Decimal, Flag, Items, Keys, Text, Texts, Value as Typed, Whole, Wholes, Word,
    Words,
};

/// Capabilities that a limited account may be denied.
const DENIABLE: &[&str] = &[
    "VOICE_OUT",
    "SMS_OUT",
    "CAMPAIGN",
    "VOICE_IN",
    "SMS_IN",
    "WHATSAPP",
    "CONTACT_CENTER",
    "VERIFY",
    "AUTHY",
    "API",
];
/// States of a KYC submission; a list in the document may contain as many.
const STATUSES: &[&str] = &[
    "NOT_SUBMITTED",
    "PENDING",
    "IN_REVIEW",
    "ADDITIONAL_INFO_REQUIRED",
    "REJECTED",
    "APPROVED",
];
/// Effects of a rule. The first one replaces a refused value, as it causes no further faults.
const EFFECTS: &[&str] = &[
    "IMMEDIATE",
    "IMMEDIATE_ON_PAYMENT",
    "NEXT_CYCLE",
    "NEXT_RENEWAL",
    "REJECT",
];
const REASONS: &[&str] = &[
    "CONTACT_SUPPORT",
    "CONTACT_SALES",
    "CONTACT_ACCOUNT_MANAGER",
    "REMOVE_CONTRACT_MEMBER",
    "NOT_OFFERED",
];
const FEATURES: &[&str] = &[
    "MONEY",
    "QUANTITY",
    "LEVEL",
    "ACCESS",
    "DURATION_DAYS",
    "SET",
    "PERCENT",
    "CLASS",
];

/// Every allowed key. Sections of plans appear as `*_plans`.
const KEYS: &[Key] = &[
    must("catalogue_version", Text),
    must("effective_from", Text),
    must("families", Keys),
    may("families.*", Keys),
    must("families.*.currency", Text),
    must("families.*.time_zone", Text),
    must("families.*.billing_mode", Word(&["ARREARS", "ADVANCE"])),
    must(
        "families.*.period",
        Word(&["CALENDAR_MONTH", "ANNIVERSARY"]),
    ),
    must("families.*.scope", Word(&["ROOT_ACCOUNT"])),
    may(
        "families.*.usage_pool",
        Words(&["SELF", "SUBACCOUNTS", "CONTRACT_MEMBERS"]),
    ),
    may("families.*.usage_excluded_categories", Texts),
    must("families.*.default_plan", Text),
    may("families.*.free_plan", Text),
    must(
        "families.*.cancel_operation",
        Word(&["SELECT_FREE_PLAN", "AT_PERIOD_END"]),
    ),
    may("families.*.cancel_to_mode", Word(&["LIMITED"])),
    must("families.*.confirmations_required", Whole),
    must("families.*.quote_ttl_minutes", Whole),
    must("families.*.proration", Keys),
    must("families.*.proration.mode", Word(&["DAILY", "NONE"])),
    may("families.*.proration.start_day", Word(&["INCLUSIVE"])),
    may(
        "families.*.proration.same_day_rule",
        Word(&["HIGHEST_RANK_STARTED"]),
    ),
    may("families.*.proration.usage_base", Word(&["WHOLE_MONTH"])),
    may(
        "families.*.proration.rounding",
        Word(&["HALF_UP", "HALF_EVEN"]),
    ),
    may(
        "families.*.proration.UPGRADE",
        Word(&["PRORATED_DIFFERENCE"]),
    ),
    may("families.*.usage_close_grace_hours", Whole),
    may("families.*.run_schedule", Word(&["AUTOMATIC", "MANUAL"])),
    must("families.*.change_rules", Items),
    must("families.*.change_rules[].when", Keys),
    may(
        "families.*.change_rules[].when.governed_by",
        Word(&["CONTRACT", "ACCOUNT"]),
    ),
    may(
        "families.*.change_rules[].when.actor",
        Word(&["CUSTOMER", "OPERATOR"]),
    ),
    may("families.*.change_rules[].when.from_plan", Text),
    may("families.*.change_rules[].when.to_plan", Text),
    may(
        "families.*.change_rules[].when.direction",
        Word(&["UPGRADE", "DOWNGRADE", "LATERAL"]),
    ),
    may("families.*.change_rules[].when.has_contract_offer", Flag),
    may(
        "families.*.change_rules[].when.from_mode",
        Word(&["NORMAL", "LIMITED"]),
    ),
    may(
        "families.*.change_rules[].when.change",
        Word(&["PLAN", "CYCLE_SWITCH"]),
    ),
    must("families.*.change_rules[].effect", Word(EFFECTS)),
    may("families.*.change_rules[].reason", Word(REASONS)),
    may(
        "families.*.change_rules[].charge",
        Word(&["NONE", "PRORATED_DIFFERENCE"]),
    ),
    may("families.*.month_end_rule", Word(&["CLAMP_KEEP_ANCHOR"])),
    may("families.*.pending_change", Keys),
    must("families.*.pending_change.max", Count),
    must("families.*.pending_change.replaceable", Flag),
    must("families.*.pending_change.withdrawable", Flag),
    may("families.*.over_quota_on_downgrade", Word(&["BLOCK_NEW"])),
    may("families.*.renewal_retry_days", Wholes),
    may("families.*.monthly_minimum_mode", Word(&["FEE_IN_ADVANCE"])),
    may("families.*.billing_cycles", Keys),
    may("families.*.billing_cycles.*", Keys),
    must("families.*.billing_cycles.*.months", Count),
    must("families.*.billing_cycles.*.discount_bps", Count),
    may("families.*.cycle_discount_constraint", Text),
    may("*_plans", Keys),
    may("*_plans.*", Keys),
    must("*_plans.*.rank", Whole),
    may("*_plans.*.charge", Keys),
    must(
        "*_plans.*.charge.type",
        Word(&["FREE", "FLAT", "PERCENT_WITH_MINIMUM"]),
    ),
    may("*_plans.*.charge.amount", Decimal),
    may("*_plans.*.charge.minimum", Decimal),
    may("*_plans.*.charge.maximum", Decimal),
    may("*_plans.*.charge.tiers", Items),
    may("*_plans.*.charge.tiers[].up_to", Decimal),
    must("*_plans.*.charge.tiers[].rate_bps", Whole),
    may("*_plans.*.channels", Texts),
    may("*_plans.*.first_response", Keys),
    may("*_plans.*.first_response.*", Keys),
    must("*_plans.*.first_response.*.minutes", Whole),
    must(
        "*_plans.*.first_response.*.clock",
        Word(&["ALWAYS", "BUSINESS_HOURS"]),
    ),
    may("*_plans.*.self_serve", Keys),
    must("*_plans.*.self_serve.purchase", Flag),
    must("*_plans.*.self_serve.cancel", Flag),
    may("*_plans.*.buy_label", Text),
    may("*_plans.*.available", Flag),
    may("*_plans.*.technical_account_manager", Flag),
    may("*_plans.*.entitlements", Keys),
    may("*_plans.*.entitlements.*", Typed),
    may("*_plans.*.trial", Keys),
    must("*_plans.*.trial.duration_days", Whole),
    must("*_plans.*.trial.credit", Decimal),
    may("*_plans.*.trial.max_whitelisted", Whole),
    may("*_plans.*.trial.max_verified_numbers", Whole),
    may("*_plans.*.trial.numbers", Whole),
    may("*_plans.*.minimum_initial_credit", Decimal),
    may("*_plans.*.addons", Keys),
    may("*_plans.*.addons.*", Keys),
    must("*_plans.*.addons.*.monthly", Decimal),
    may("*_plans.*.quote_only", Flag),
    may("*_plans.*.contact", Text),
    may("*_plans.*.contract_terms_months", Wholes),
    may("business_hours", Keys),
    must(
        "business_hours.days",
        Word(&["MON-FRI", "MON-SAT", "MON-SUN"]),
    ),
    must("business_hours.from", Text),
    must("business_hours.to", Text),
    must("business_hours.zone", Text),
    may("priorities", Keys),
    may("priorities.*", Keys),
    must("priorities.*.name", Text),
    must("priorities.*.production_only", Flag),
    may("entitlement_types", Keys),
    may("entitlement_types.*", Keys),
    must("entitlement_types.*.kind", Word(FEATURES)),
    may("entitlement_types.*.order", Texts),
    may("entitlement_types.*.values", Typed),
    may("rates", Keys),
    must("rates.voice", Keys),
    must("rates.voice.pulse_seconds", Whole),
    must("rates.voice.per_pulse", Decimal),
    must("rates.sms", Keys),
    may("rates.sms.gsm_single", Count),
    may("rates.sms.gsm_part", Count),
    may("rates.sms.ucs2_single", Count),
    may("rates.sms.ucs2_part", Count),
    must("rates.sms.per_part", Decimal),
    may("rates.number_rental_monthly", Keys),
    may("rates.number_rental_monthly.*", Decimal),
    must("payment_methods", Keys),
    may("payment_methods.*", Keys),
    must("payment_methods.*.plans", AnyOr(&[])),
    must("payment_methods.*.countries", AnyOr(&[])),
    must("payment_methods.*.cycles", AnyOr(&[])),
    may(
        "payment_methods.*.purposes",
        AnyOr(&["SUBSCRIPTION", "CREDITS"]),
    ),
    may("payment_methods.*.networks", Texts),
    may("payment_methods.*.banks", Texts),
    may("payment_methods.*.apps", Texts),
    must(
        "payment_methods.*.settlement",
        Word(&["INSTANT", "DELAYED"]),
    ),
    may("payment_methods.*.expected_business_days", Count),
    must("payment_methods.*.recurring", Flag),
    may("payment_methods.*.minimum", Decimal),
    may("tax", Keys),
    may("tax.*", Keys),
    may("tax.*.name", Text),
    must("tax.*.rate_bps", Whole),
    may("tax.*.inclusive", Flag),
    may("tax.*.same_state", Texts),
    may("tax.*.other_state", Texts),
    may("tax.*.sez_export_bps", Whole),
    may("tax.*.line_codes", Keys),
    may("tax.*.line_codes.*", Text),
    may("tax.*.states", Keys),
    may("tax.*.states.*", Text),
    may("kyc", Keys),
    may("kyc.statuses", Words(STATUSES)),
    must("kyc.review_business_days", Keys),
    must("kyc.review_business_days.standard", Whole),
    may("kyc.resubmissions", Word(&["UNLIMITED"])),
    must("kyc.documents_in", Texts),
    must("kyc.documents_sea", Texts),
    must("kyc.file", Keys),
    must("kyc.file.types", Texts),
    must("kyc.file.max_mb", Whole),
    must("account_profiles", Keys),
    may("account_profiles.*", Keys),
    may("account_profiles.*.max_subaccounts", Whole),
    may("account_profiles.*.max_trial_accounts", Whole),
    may("account_profiles.*.max_resources", Whole),
    must("account_profiles.*.currency", Text),
    must("account_profiles.*.time_zone", Text),
    must("account_profiles.*.families", Texts),
    must("account_profiles.*.roles", Texts),
    must("account_profiles.*.permissions", Keys),
    may("account_profiles.*.permissions.change_plan", Texts),
    may("account_profiles.*.permissions.buy_credits", Texts),
    may("account_profiles.*.permissions.close", Texts),
    may("account_profiles.*.permissions.soft_close", Texts),
    may("account_profiles.*.kyc", Keys),
    must("account_profiles.*.kyc.required", Flag),
    may(
        "account_profiles.*.kyc.gates",
        Words(&["UPGRADE", "BUY_PRODUCTION_NUMBER", "GO_LIVE"]),
    ),
    may("account_profiles.*.dlt", Keys),
    must("account_profiles.*.dlt.required_for_sms_to", Texts),
    may("account_profiles.*.advisory_checklist", Texts),
    may("account_profiles.*.limited_mode", Keys),
    must("account_profiles.*.limited_mode.denied", Words(DENIABLE)),
    must("account_profiles.*.limited_mode.number_hold_days", Whole),
    may("account_profiles.*.limited_mode.charge_rental", Flag),
    may("account_profiles.*.close", Keys),
    must(
        "account_profiles.*.close.invoiced",
        Word(&["OPERATOR_ONLY", "OWNER"]),
    ),
    must(
        "account_profiles.*.close.blocked_suspension_reasons",
        Words(&["FRAUD", "TERMS"]),
    ),
    must("account_profiles.*.close.reauth_max_age_minutes", Whole),
    must(
        "account_profiles.*.close.full_options",
        Words(&["DELETE_ALL_DATA_AND_SETTINGS", "KEEP_ACCOUNT_DATA"]),
    ),
    must("account_profiles.*.close.trial_acknowledgements", Texts),
    must("account_profiles.*.close.cascade_subaccounts", Flag),
    must("account_profiles.*.close.settle_accrued_first", Flag),
    must(
        "account_profiles.*.close.refund_unused_subscription",
        Word(&["NONE"]),
    ),
    must("account_profiles.*.close.data_purge_days", Whole),
    must(
        "account_profiles.*.close.records_kept_after_purge",
        Words(&["LEDGER", "INVOICE", "REFUND", "AUDIT"]),
    ),
    may("account_profiles.*.soft_close", Keys),
    must("account_profiles.*.soft_close.release_kinds", Texts),
    must(
        "account_profiles.*.soft_close.cancel_kinds",
        Words(&["SUBSCRIPTION", "SUPPORT_PLAN"]),
    ),
    must("account_profiles.*.soft_close.recordings", Word(&["KEEP"])),
    must(
        "account_profiles.*.soft_close.on_contract_plan",
        Word(&["BLOCK"]),
    ),
    must("account_profiles.*.soft_close.refund", Word(&["NONE"])),
    must("account_profiles.*.balance", Keys),
    may(
        "account_profiles.*.balance.buckets",
        Words(&["TRIAL", "PROMO", "PAID"]),
    ),
    must(
        "account_profiles.*.balance.consume_order",
        Words(&["TRIAL", "PROMO", "PAID"]),
    ),
    may("account_profiles.*.balance.notify_below", Decimal),
    may(
        "account_profiles.*.balance.at_zero",
        Word(&["SUSPEND", "BLOCK_OUTBOUND"]),
    ),
    may(
        "account_profiles.*.balance.numbers_at_risk_after_days",
        Whole,
    ),
    may("account_profiles.*.balance.recurring_while_suspended", Flag),
    may(
        "account_profiles.*.balance.trial_on_upgrade",
        Word(&["FORFEIT", "KEEP"]),
    ),
    may(
        "account_profiles.*.balance.expire_when_not_paid_days",
        Whole,
    ),
    may("account_profiles.*.refund", Keys),
    must("account_profiles.*.refund.fee_bps", Whole),
    must("account_profiles.*.refund.minimum", Decimal),
    must("account_profiles.*.refund.promo", Word(&["NOT_REFUNDABLE"])),
    must("account_profiles.*.refund.trial", Word(&["NOT_REFUNDABLE"])),
    must("account_profiles.*.refund.due_business_days", Whole),
    must(
        "account_profiles.*.refund.route",
        Word(&["ORIGINAL_METHOD"]),
    ),
    must(
        "account_profiles.*.refund.order",
        Word(&["NEWEST_PAYMENT_FIRST"]),
    ),
    must(
        "account_profiles.*.refund.fallback",
        Word(&["MANUAL_BANK_TRANSFER"]),
    ),
    may("account_profiles.*.refund.window_days", Whole),
    must(
        "account_profiles.*.refund.tax_treatment",
        Word(&["EXCLUDE", "PROPORTIONAL"]),
    ),
    may("account_profiles.*.auto_recharge", Keys),
    must(
        "account_profiles.*.auto_recharge.mode",
        Word(&["TOP_UP_TO", "ADD_AMOUNT"]),
    ),
    must(
        "account_profiles.*.auto_recharge.default_threshold",
        Decimal,
    ),
    must("account_profiles.*.auto_recharge.min_threshold", Decimal),
    may("account_profiles.*.auto_recharge.default_target", Decimal),
    may("account_profiles.*.auto_recharge.default_amount", Decimal),
    may("account_profiles.*.auto_recharge.default_maximum", Decimal),
    may("account_profiles.*.auto_recharge.pause_minutes", Whole),
    may("account_profiles.*.auto_recharge.default_on", Flag),
    must("account_profiles.*.auto_recharge.invoiced", Flag),
    may("account_profiles.*.auto_recharge.max_per_month", Whole),
    may(
        "account_profiles.*.auto_recharge.no_recurring_card_countries",
        Texts,
    ),
    may("account_profiles.*.trial", Keys),
    must("account_profiles.*.trial.duration_days", Whole),
    must("account_profiles.*.trial.credit", Decimal),
    may("account_profiles.*.trial.max_whitelisted", Whole),
    may("account_profiles.*.trial.max_verified_numbers", Whole),
    may("account_profiles.*.trial.numbers", Whole),
    may("account_profiles.*.invoiced", Keys),
    must("account_profiles.*.invoiced.terms", Texts),
    may("account_profiles.*.invoiced.reminder_days", Wholes),
    may(
        "account_profiles.*.login_user_deletion",
        Word(&["OPERATOR_ONLY"]),
    ),
    must("issuers", Keys),
    may("issuers.*", Keys),
    must("issuers.*.name", Text),
    must("issuers.*.address", Text),
    may("issuers.*.tax_id", Text),
    must("issuers.*.country", Text),
    must("issuers.*.state", Text),
    must("issuers.*.fiscal_year_start", Text),
    must("issuers.*.profiles", Texts),
    must("issuers.*.number_prefix", Text),
    may("issuers.*.tax_id_label", Text),
    may("issuers.*.invoice_title", Text),
    may("issuers.*.reverse_charge_note", Text),
    may("issuers.*.export_statement", Text),
    may("issuers.*.signature_note", Text),
    may("holiday_calendars", Keys),
    may("holiday_calendars.*", Texts),
    may("run_approval", Keys),
    may("run_approval.*", Word(&["NOT_REQUIRED", "REQUIRED"])),
    may("retention_years", Keys),
    may("retention_years.INVOICE", Whole),
];

/// Keys and values that a catalogue might plausibly contain but that have no effect here, with the reason.
const REFUSED: &[Refused] = &[
    refused(
        "families.*.proration.mode",
        "NONE_FULL_MONTH",
        "DAILY, or NONE in a family billed in advance: a billing run charges by day",
    ),
    refused(
        "families.*.proration.mode",
        "PRORATED_DIFFERENCE",
        "DAILY or NONE: a difference is charged through proration.UPGRADE or a rule's charge",
    ),
    refused(
        "families.*.usage_pool",
        "[SELF]",
        "SELF, SUBACCOUNTS, CONTRACT_MEMBERS: a pool is an account with its subaccounts, or a contract",
    ),
    refused(
        "families.*.change_rules[].when.from_mode",
        "DORMANT",
        "NORMAL or LIMITED: a dormant account can't change plans",
    ),
    refused(
        "families.*.over_quota_on_downgrade",
        "SUSPEND_EXCESS",
        "BLOCK_NEW: resources above the quota are kept",
    ),
    refused(
        "families.*.over_quota_on_downgrade",
        "REJECT_CHANGE",
        "BLOCK_NEW: a downgrade is not refused because of a quota",
    ),
    refused(
        "families.*.monthly_minimum_mode",
        "CREDIT_TO_WALLET",
        "FEE_IN_ADVANCE: the price of a cycle pays for the plan",
    ),
    refused(
        "families.*.monthly_minimum_mode",
        "SHORTFALL_AT_END",
        "FEE_IN_ADVANCE: the price of a cycle is paid at its start",
    ),
    refused(
        "*_plans.*.name",
        "",
        "no such key: the display name of a plan is derived from its code",
    ),
    refused(
        "*_plans.*.trial.data_kept_days_after_expiry",
        "",
        "no such key: an expired trial is limited, and its data is kept until it is closed",
    ),
    refused(
        "account_profiles.*.trial.data_kept_days_after_expiry",
        "",
        "no such key: an expired trial is limited, and its data is kept until it is closed",
    ),
    refused(
        "account_profiles.*.auto_recharge.default_on",
        "true",
        "false: only an owner can agree to automatic charges (D34)",
    ),
    refused(
        "account_profiles.*.balance.recurring_while_suspended",
        "false",
        "true: recurring charges continue while an account is suspended",
    ),
    refused(
        "account_profiles.*.balance.promo_validity_days",
        "",
        "no such key: the expiry of granted credit is set with GrantCredit",
    ),
    refused(
        "account_profiles.*.invoiced.min_commit_per_year",
        "",
        "no such key: a commitment is agreed in the customer's contract",
    ),
    refused(
        "account_profiles.*.close.cascade_subaccounts",
        "false",
        "true: an account is closed together with its subaccounts",
    ),
    refused(
        "account_profiles.*.close.settle_accrued_first",
        "false",
        "true: debt is settled before anything is refunded",
    ),
    refused("tax.*.inclusive", "true", "false: prices are net"),
    refused(
        "kyc.review_business_days.manual",
        "",
        "no such key: every review has the same deadline, review_business_days.standard",
    ),
    refused(
        "retention_years.LEDGER",
        "",
        "no such key: the ledger is kept for ever",
    ),
    refused(
        "retention_years.AUDIT",
        "",
        "no such key: audit entries are kept for ever",
    ),
];

/// A document in which refused parts are replaced, so that the rest can be checked too.
pub struct Healed {
    /// The document, with a fitting sample in place of each refused value.
    pub document: Value,
    /// The refused parts.
    pub faults: Vec<Fault>,
    /// Paths of the samples. Faults found there follow from a reported one.
    pub places: Vec<String>,
}

/// Refuses every key and value that a catalogue can't have.
pub fn checked(document: Value) -> Healed {
    let mut healed = Healed {
        document,
        faults: Vec::new(),
        places: Vec::new(),
    };
    let mut document = std::mem::take(&mut healed.document);
    if let Value::Mapping(map) = &mut document {
        healed.keys("", "", map);
    } else {
        healed.refuse("document", "a mapping of sections");
        let mut map = Mapping::new();
        Healed::new().keys("", "", &mut map);
        document = Value::Mapping(map);
    }
    healed.document = document;
    healed
}

impl Healed {
    const fn new() -> Self {
        Self {
            document: Value::Null,
            faults: Vec::new(),
            places: Vec::new(),
        }
    }

    fn refuse(&mut self, path: &str, expected: &str) {
        self.places.push(path.to_owned());
        self.faults.push(Fault {
            path: path.to_owned(),
            line: None,
            expected: expected.to_owned(),
        });
    }

    /// Checks the keys of the mapping at `path`, whose entries in the table start with `pattern`.
    fn keys(&mut self, pattern: &str, path: &str, map: &mut Mapping) {
        let names: Vec<Value> = map.keys().cloned().collect();
        let mut strange = false;
        for name in names {
            let Some(text) = name.as_str() else {
                self.refuse(path, "keys that are texts");
                map.remove(&name);
                continue;
            };
            let at = joined(path, text);
            let Some(key) = child(pattern, text) else {
                let reason = reason(&[joined(pattern, text), joined(pattern, "*")], "");
                self.refuse(&at, reason.unwrap_or("no such key"));
                map.remove(&name);
                strange = true;
                continue;
            };
            let Some(value) = map.get_mut(&name) else {
                continue;
            };
            if !value.is_null() || key.required {
                self.value(key, &at, value);
            } else if !key.path.ends_with('*') {
                map.remove(&name);
            }
        }
        for key in KEYS.iter().filter(|key| key.required) {
            let Some(name) = name_within(pattern, key.path) else {
                continue;
            };
            if map.contains_key(name) {
                continue;
            }
            let at = joined(path, name);
            // A misspelled key is the cause of this fault.
            if strange {
                self.places.push(at.clone());
            } else {
                self.refuse(&at, &format!("{}: it is missing", expected(key.kind)));
            }
            map.insert(Value::String(name.to_owned()), sample(key, &at));
        }
    }

    fn value(&mut self, key: &Key, path: &str, value: &mut Value) {
        if let Some(reason) = spelled(value).and_then(|it| reason(&[key.path.to_owned()], &it)) {
            self.refuse(path, reason);
            *value = sample(key, path);
            return;
        }
        match (key.kind, &mut *value) {
            (Keys, Value::Mapping(map)) => self.keys(key.path, path, map),
            (Items, Value::Sequence(items)) => {
                let pattern = format!("{}[]", key.path);
                for (n, item) in items.iter_mut().enumerate() {
                    let at = format!("{path}[{n}]");
                    if let Value::Mapping(map) = item {
                        self.keys(&pattern, &at, map);
                    } else {
                        self.refuse(&at, "a mapping of keys");
                        let mut map = Mapping::new();
                        Self::new().keys(&pattern, &at, &mut map);
                        *item = Value::Mapping(map);
                    }
                }
            }
            (kind, present) => {
                if !fits(kind, present) {
                    self.refuse(path, &expected(kind));
                    *value = sample(key, path);
                }
            }
        }
    }
}

/// Whether a value without further keys has the right type.
fn fits(kind: Kind, value: &Value) -> bool {
    let whole = |value: &Value, least: i64| {
        let number = value.as_i64();
        number.is_some_and(|it| least <= it && it <= i64::from(i32::MAX))
    };
    let all = |one: &dyn Fn(&Value) -> bool| {
        let items = value.as_sequence();
        items.is_some_and(|items| items.iter().all(one))
    };
    let among =
        |words: &[&str], value: &Value| value.as_str().is_some_and(|it| words.contains(&it));
    match kind {
        Keys | Items => false,
        Text => value.is_string(),
        Decimal => value.as_str().is_some_and(is_decimal),
        Whole => whole(value, i64::from(i32::MIN)),
        Count => whole(value, 0),
        Wholes => all(&|it| whole(it, i64::from(i32::MIN))),
        Flag => value.is_bool(),
        Texts => all(&Value::is_string),
        Word(words) => among(words, value),
        Words(words) => all(&|it| among(words, it)),
        AnyOr(words) => {
            value.as_str() == Some("ANY")
                || all(&|it| it.is_string() && (words.is_empty() || among(words, it)))
        }
        Typed => true,
    }
}

/// Whether a text looks like a decimal. The allowed number of places is checked where it is read.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|it: char| it.is_ascii_digit())
        && digits.bytes().all(|it| it.is_ascii_digit() || it == b'.')
}

/// A description of the values that would be accepted.
fn expected(kind: Kind) -> String {
    match kind {
        Keys => "a mapping of keys".to_owned(),
        Items => "a list of mappings".to_owned(),
        Text => "a text".to_owned(),
        Texts => "a list of texts".to_owned(),
        Whole => "a whole number".to_owned(),
        Count => "a whole number, 0 or more".to_owned(),
        Wholes => "a list of whole numbers".to_owned(),
        Decimal => "a decimal in quotes, such as \"250.00\"".to_owned(),
        Flag => "true or false".to_owned(),
        Word(words) => words.join(" or "),
        Words(words) => format!("a list of {}", words.join(", ")),
        AnyOr([]) => "ANY or a list of codes".to_owned(),
        AnyOr(words) => format!("ANY or a list of {}", words.join(", ")),
        Typed => "a value of its type".to_owned(),
    }
}

/// A sample value that fits a key.
fn sample(key: &Key, path: &str) -> Value {
    let text = |text: &str| Value::String(text.to_owned());
    match key.kind {
        Keys => {
            let mut map = Mapping::new();
            Healed::new().keys(key.path, path, &mut map);
            Value::Mapping(map)
        }
        Items | Texts | Wholes | Words(_) => Value::Sequence(Vec::new()),
        Text | Typed => text("x"),
        Whole | Count => Value::Number(1.into()),
        Decimal => text("1"),
        Flag => Value::Bool(true),
        Word(words) => text(words.first().copied().unwrap_or_default()),
        AnyOr(_) => text("ANY"),
    }
}

/// A value in the form in which the table of refused values lists it; `None` for a mapping.
fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::Bool(it) => Some(it.to_string()),
        Value::Number(it) => Some(it.to_string()),
        Value::String(it) => Some(it.clone()),
        Value::Sequence(items) => {
            let items: Option<Vec<_>> = items.iter().map(spelled).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        Value::Null | Value::Mapping(_) | Value::Tagged(_) => None,
    }
}

/// The reason for which a value (empty for any) is refused at one of these paths.
fn reason(paths: &[String], value: &str) -> Option<&'static str> {
    let mut all = REFUSED.iter();
    let found = all.find(|it| paths.iter().any(|path| path == it.path) && it.value == value);
    found.map(|it| it.reason)
}

/// The key `name` in the mapping at `pattern`.
fn child(pattern: &str, name: &str) -> Option<&'static Key> {
    let named = |name: &str| {
        let path = joined(pattern, name);
        KEYS.iter().find(|key| key.path == path)
    };
    let plans = pattern.is_empty() && name.ends_with("_plans");
    named(name).or_else(|| named(if plans { "*_plans" } else { "*" }))
}

/// The name of a key directly below `pattern`; `None` if it lies elsewhere.
fn name_within<'k>(pattern: &str, path: &'k str) -> Option<&'k str> {
    let name = if pattern.is_empty() {
        path
    } else {
        path.strip_prefix(pattern)?.strip_prefix('.')?
    };
    (!name.contains(['.', '[', '*'])).then_some(name)
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// The line of `path`, or of the nearest key above it.
pub fn line(text: &str, path: &str) -> Option<usize> {
    let steps = steps(path);
    (1..=steps.len()).rev().find_map(|count| {
        let (path, _) = steps.split_at(count);
        let document = serde_yaml_ng::Deserializer::from_str(text);
        let error = Seek { path }.deserialize(document).err()?;
        error.location().map(|at| at.line())
    })
}

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step<'p> {
    /// To the value of a key.
    Key(&'p str),
    /// To an element of a list.
    Item(usize),
}

/// The steps of a path such as `a.b[2].c`.
fn steps(path: &str) -> Vec<Step<'_>> {
    let of_part = |part| {
        let (name, items) = str::split_once(part, '[').unwrap_or((part, ""));
        let items = items.split('[').filter_map(|item| {
            let number = item.trim_end_matches(']').parse();
            number.ok().map(Step::Item)
        });
        let items: Vec<_> = items.collect();
        [Step::Key(name)].into_iter().chain(items)
    };
    path.split('.').flat_map(of_part).collect()
}

/// Parses a document down to a path and fails there on purpose, since the parser's error contains the line.
struct Seek<'p> {
    path: &'p [Step<'p>],
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl Seek<'_> {
    /// Handles a scalar: it is the target if the path ends here.
    fn scalar<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.path.is_empty() {
            return Err(E::custom("here"));
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part of a catalogue")
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Err(A::Error::custom("here"));
        };
        let Step::Item(place) = step else {
            return Ok(());
        };
        for _ in 0..*place {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        items.next_element_seed(Seek { path: rest })?;
        // Unread elements would cause an error of their own.
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((step, rest)) = self.path.split_first() else {
            return Err(A::Error::custom("here"));
        };
        let Step::Key(name) = step else {
            return Ok(());
        };
        let last = rest.is_empty();
        while let Some(found) = map.next_key_seed(Name { name, last })? {
            if found {
                map.next_value_seed(Seek { path: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// Whether a key has this name; fails on purpose at the last step of the path.
struct Name<'p> {
    name: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a key")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        let found = text == self.name;
        if found && self.last {
            return Err(E::custom("here"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::super::read_new;
    use super::*;

    const SHIPPED: &str = include_str!("../../../../tests/data/catalogue.yaml");
    const TABLE: &str = include_str!("../../../../tests/data/catalogue-keys.csv");

    /// The rows of the CSV: key and value, and the test that proves it or `refused`.
    fn rows() -> BTreeMap<(&'static str, &'static str), &'static str> {
        let mut rows = BTreeMap::new();
        for line in TABLE.lines().skip(1) {
            let mut cells = line.splitn(3, ',');
            let mut cell = || cells.next().unwrap_or_else(|| panic!("{line}"));
            let (key, value, proof) = (cell(), cell(), cell());
            assert!(rows.insert((key, value), proof).is_none(), "twice: {line}");
        }
        rows
    }

    /// Every value of every key, and whether it is allowed or refused; `*` stands for any value of the type.
    fn known() -> BTreeMap<(&'static str, &'static str), bool> {
        let mut known = BTreeMap::new();
        for key in KEYS {
            let values: &[&str] = match key.kind {
                Keys | Items => continue,
                Flag => &["true", "false"],
                Word(words) | Words(words) => words,
                AnyOr([]) => &["*", "ANY"],
                AnyOr(words) => {
                    known.insert((key.path, "ANY"), true);
                    words
                }
                Text | Texts | Whole | Count | Wholes | Decimal | Typed => &["*"],
            };
            for value in values {
                known.insert((key.path, *value), true);
            }
        }
        for it in REFUSED {
            let value = if it.value.is_empty() { "*" } else { it.value };
            known.insert((it.path, value), false);
        }
        known
    }

    #[test]
    fn req_134_each_key_and_value_has_the_test_that_proves_it() {
        let (rows, known) = (rows(), known());
        let tests = tests();
        let mut wrong = Vec::new();
        for ((key, value), in_force) in &known {
            match rows.get(&(*key, *value)) {
                None => wrong.push(format!("no row: {key},{value}")),
                Some(proof) if (*proof == "refused") == *in_force => {
                    wrong.push(format!("allowed or refused? {key},{value},{proof}"));
                }
                Some(proof) if *in_force && !tests.contains(*proof) => {
                    wrong.push(format!("no such test: {key},{value},{proof}"));
                }
                Some(_) => {}
            }
        }
        for (key, value) in rows.keys().filter(|row| !known.contains_key(*row)) {
            wrong.push(format!("no such key or value: {key},{value}"));
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    /// The names of all tests in the tree.
    fn tests() -> BTreeSet<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut folders: Vec<PathBuf> = ["services", "shared", "tests/suite"]
            .map(|it| root.join(it))
            .into();
        let mut names = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    let text = fs::read_to_string(&path).unwrap();
                    let mut marked = false;
                    for line in text.lines().map(str::trim) {
                        let named = line.split_once("fn ").filter(|_| marked);
                        if let Some((_, rest)) = named {
                            names.insert(rest.split('(').next().unwrap().to_owned());
                        }
                        let attribute = line.starts_with("#[");
                        marked = line == "#[test]"
                            || line.starts_with("#[tokio::test")
                            || marked && attribute;
                    }
                }
            }
        }
        names
    }

    /// The shipped catalogue with `value` at the first path that `pattern` matches, and that path.
    fn with(pattern: &str, value: &str) -> (String, String) {
        let mut document: Value = serde_yaml_ng::from_str(SHIPPED).unwrap();
        let (parent, name) = pattern.rsplit_once('.').unwrap();
        let places = places(&document, parent);
        let spot = places
            .iter()
            .find(|it| at(&document, it).get(name).is_some());
        let spot = spot
            .or(places.first())
            .unwrap_or_else(|| panic!("{pattern}"));
        let value: Value = serde_yaml_ng::from_str(value).unwrap();
        let map = at_mut(&mut document, spot).as_mapping_mut().unwrap();
        map.insert(Value::String(name.to_owned()), value);
        let text = serde_yaml_ng::to_string(&document).unwrap();
        (text, format!("{spot}.{name}"))
    }

    /// The paths in a document that a pattern matches.
    fn places(document: &Value, pattern: &str) -> Vec<String> {
        let mut found = vec![String::new()];
        for part in pattern.split('.') {
            let (name, items) = (part.trim_end_matches("[]"), part.ends_with("[]"));
            let mut next = Vec::new();
            for place in found {
                let Some(map) = at(document, &place).as_mapping() else {
                    continue;
                };
                let names = map.keys().filter_map(Value::as_str);
                let fits = |it: &&str| match name {
                    "*" => true,
                    "*_plans" => it.ends_with("_plans"),
                    name => *it == name,
                };
                for name in names.filter(fits) {
                    let place = joined(&place, name);
                    match at(document, &place).as_sequence().filter(|_| items) {
                        Some(all) => next.extend((0..all.len()).map(|n| format!("{place}[{n}]"))),
                        None => next.push(place),
                    }
                }
            }
            found = next;
        }
        found
    }

    fn at<'v>(document: &'v Value, path: &str) -> &'v Value {
        let mut value = document;
        for step in steps(path).into_iter().filter(|it| *it != Step::Key("")) {
            value = match step {
                Step::Key(name) => value.get(name).unwrap(),
                Step::Item(n) => value.get(n).unwrap(),
            };
        }
        value
    }

    fn at_mut<'v>(document: &'v mut Value, path: &str) -> &'v mut Value {
        let mut value = document;
        for step in steps(path).into_iter().filter(|it| *it != Step::Key("")) {
            value = match step {
                Step::Key(name) => value.get_mut(name).unwrap(),
                Step::Item(n) => value.get_mut(n).unwrap(),
            };
        }
        value
    }

    #[test]
    fn req_134_what_is_refused_is_told_as_one_fault_with_its_path_line_and_reason() {
        let refused = rows().into_iter().filter(|(_, proof)| *proof == "refused");
        let mut count = 0;
        for ((key, value), _) in refused {
            let any = if value == "*" { "30" } else { value };
            let (text, path) = with(key, any);
            let faults = read_new(&text).unwrap_err();
            let told: Vec<_> = faults.iter().map(|it| it.path.as_str()).collect();
            assert_eq!(told, [path.as_str()], "{key} {value}: {faults:?}");
            let name = path.rsplit('.').next().unwrap();
            let line = faults[0].line.unwrap();
            let line = text.lines().nth(line - 1).unwrap();
            assert!(line.contains(&format!("{name}:")), "{path}: {line}");
            assert!(!faults[0].expected.is_empty());
            count += 1;
        }
        assert_eq!(count, REFUSED.len());
    }

    /// An accepted word without any effect would be a promise that nothing keeps.
    #[test]
    fn a_value_that_is_taken_is_read() {
        let shipped: Value = serde_yaml_ng::from_str(SHIPPED).unwrap();
        let before = format!("{:?}", read_new(SHIPPED).unwrap());
        let own = |key: &Key| !key.path.starts_with("payment_methods");
        let mut changed = 0;
        for key in KEYS.iter().filter(|key| own(key)) {
            let values: Vec<String> = match key.kind {
                Flag => ["true", "false"].map(str::to_owned).into(),
                Word(words) => words.iter().map(|it| (*it).to_owned()).collect(),
                Words(words) => words.iter().map(|it| format!("[{it}]")).collect(),
                Keys | Items | Text | Texts | Whole | Count | Wholes | Decimal | AnyOr(_)
                | Typed => continue,
            };
            for value in values {
                let (text, path) = with(key.path, &value);
                let written: Value = serde_yaml_ng::from_str(&value).unwrap();
                let (parent, name) = path.rsplit_once('.').unwrap();
                let present = at(&shipped, parent).get(name);
                let Ok(read) = read_new(&text) else { continue };
                if present.is_some_and(|it| *it != written) {
                    assert_ne!(format!("{read:?}"), before, "{path}: {value}");
                    changed += 1;
                }
            }
        }
        assert!(20 < changed, "{changed}");
    }

    #[test]
    fn the_table_covers_the_shipped_catalogue() {
        let healed = checked(serde_yaml_ng::from_str(SHIPPED).unwrap());
        assert_eq!(healed.faults, []);
    }

    #[test]
    fn a_line_is_that_of_the_key_or_of_what_is_nearest_above_it() {
        let text = "a:\n  b: 1\n  c:\n    - {d: 1}\n    - d: 2\n      e: [1, 2]\nf: x\n";
        for (path, expected) in [
            ("a", 1),
            ("a.b", 2),
            ("a.c", 3),
            ("a.c[0]", 4),
            ("a.c[0].d", 4),
            ("a.c[1].e", 6),
            ("a.c[1].e[1]", 6),
            ("a.c[1].missing", 5),
            ("a.missing", 1),
            ("f", 7),
        ] {
            assert_eq!(line(text, path), Some(expected), "{path}");
        }
    }
}
