//! Reads the part of a catalogue document that payments needs. Every fault names its path.

use chrono::NaiveDate;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};
use values::{Currency, Money, Zone};

use crate::domain::catalogue::{Catalogue, Method, Profile};
use crate::domain::movement::Purpose;

/// A fault of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Path, such as `payment_methods.CARD`.
    pub path: String,
    /// What would have been accepted.
    pub expected: String,
}

fn fault(path: impl Into<String>, expected: impl Into<String>) -> Fault {
    // The messages of the YAML parser may quote the document, so they are cut.
    let short = |text: String| text.chars().take(200).collect();
    Fault {
        path: short(path.into()),
        expected: short(expected.into()),
    }
}

/// Maximum of faults reported.
const FAULTS_MAX: usize = 20;

#[derive(Deserialize)]
struct MethodText {
    plans: Value,
    countries: Value,
    cycles: Value,
    #[serde(default = "any")]
    purposes: Value,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    banks: Vec<String>,
    #[serde(default)]
    apps: Vec<String>,
    settlement: Settlement,
    #[serde(default)]
    expected_business_days: i32,
    recurring: bool,
    minimum: Option<String>,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Settlement {
    Instant,
    Delayed,
}

fn any() -> Value {
    Value::String("ANY".to_owned())
}

/// Parses a catalogue document.
pub fn read(text: &str) -> Result<Catalogue, Vec<Fault>> {
    let document: Mapping = serde_yaml_ng::from_str(text)
        .map_err(|error| vec![fault("", format!("YAML, a mapping: {error}"))])?;
    let mut faults = Vec::new();
    let version = document
        .get("catalogue_version")
        .and_then(Value::as_str)
        .filter(|version| !version.is_empty() && version.len() <= 32);
    if version.is_none() {
        faults.push(fault("catalogue_version", "1 to 32 characters"));
    }
    let mut profiles = Vec::new();
    for (code, value) in section(&document, "account_profiles", &mut faults) {
        match profile(&document, &code, value) {
            Ok(profile) => profiles.push(profile),
            Err((path, expected)) => faults.push(fault(path, expected)),
        }
    }
    let minimums_in = currency_of_minimums(&document);
    let mut methods = Vec::new();
    for (code, value) in section(&document, "payment_methods", &mut faults) {
        let path = format!("payment_methods.{code}");
        match method(&code, value, minimums_in) {
            Ok(method) => methods.push(method),
            Err(expected) => faults.push(fault(path, expected)),
        }
    }
    let plans = ["support_plans", "platform_plans"].iter().flat_map(|part| {
        let part = document.get(*part).and_then(Value::as_mapping);
        part.into_iter()
            .flat_map(Mapping::keys)
            .filter_map(|code| Some(code.as_str()?.to_owned()))
    });
    let plans = plans.collect();
    faults.truncate(FAULTS_MAX);
    if let (Some(version), true) = (version, faults.is_empty()) {
        return Ok(Catalogue {
            version: version.to_owned(),
            methods,
            profiles,
            plans,
        });
    }
    Err(faults)
}

/// The entries of a section of the document, by code.
fn section<'d>(
    document: &'d Mapping,
    name: &str,
    faults: &mut Vec<Fault>,
) -> Vec<(String, &'d Value)> {
    let Some(part) = document.get(name).and_then(Value::as_mapping) else {
        faults.push(fault(name, "a mapping from codes"));
        return Vec::new();
    };
    let entries = part
        .iter()
        .filter_map(|(code, value)| Some((code.as_str()?.to_owned(), value)));
    entries.collect()
}

fn profile(document: &Mapping, code: &str, value: &Value) -> Result<Profile, (String, String)> {
    let path = |name: &str| format!("account_profiles.{code}.{name}");
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let currency = text("currency").parse();
    let currency =
        currency.map_err(|_| (path("currency"), "an ISO 4217 code known here".to_owned()))?;
    let zone = Zone::parse(text("time_zone"));
    let zone = zone.map_err(|_| (path("time_zone"), "an IANA time zone".to_owned()))?;
    // The holidays are those of the country of the profile's invoice issuer.
    let issuers = document.get("issuers").and_then(Value::as_mapping);
    let serves = |issuer: &&Value| {
        let profiles = issuer.get("profiles").and_then(Value::as_sequence);
        profiles.is_some_and(|it| it.iter().any(|it| it.as_str() == Some(code)))
    };
    let issuer = issuers.and_then(|issuers| issuers.values().find(serves));
    let country = issuer
        .and_then(|issuer| issuer.get("country"))
        .and_then(Value::as_str);
    let calendar = country.and_then(|country| document.get("holiday_calendars")?.get(country));
    let holidays = match calendar {
        None => Vec::new(),
        Some(days) => part::<Vec<NaiveDate>>(days).map_err(|expected| {
            let path = format!("holiday_calendars.{}", country.unwrap_or_default());
            (path, expected)
        })?,
    };
    Ok(Profile {
        code: code.to_owned(),
        currency,
        zone,
        holidays,
    })
}

/// The currency of the methods' minimums, which the document states without one: that of the family with billing
/// cycles, since minimums accompany conditions on plans and cycles.
fn currency_of_minimums(document: &Mapping) -> Option<Currency> {
    let families = document.get("families")?.as_mapping()?;
    let with_cycles = families
        .values()
        .find(|family| family.get("billing_cycles").is_some())?;
    with_cycles.get("currency")?.as_str()?.parse().ok()
}

fn method(code: &str, value: &Value, minimums_in: Option<Currency>) -> Result<Method, String> {
    let text: MethodText = part(value)?;
    let minimum = match (text.minimum, minimums_in) {
        (Some(minimum), Some(currency)) => {
            let money = Money::parse(&minimum, currency)
                .ok()
                .filter(|money| 0 < money.minor());
            Some(money.ok_or("minimum: a plain decimal above zero")?)
        }
        _ => None,
    };
    let offline = text.settlement == Settlement::Delayed;
    if offline == (text.expected_business_days < 1) {
        return Err("expected_business_days: above zero for DELAYED, none otherwise".to_owned());
    }
    if offline && text.recurring {
        return Err("recurring: false for a method that is settled offline".to_owned());
    }
    Ok(Method {
        code: code.to_owned(),
        plans: any_or_list("plans", &text.plans)?,
        countries: any_or_list("countries", &text.countries)?,
        cycles: any_or_list("cycles", &text.cycles)?,
        purposes: purposes(&text.purposes)?,
        networks: text.networks,
        banks: text.banks,
        apps: text.apps,
        offline,
        business_days: text.expected_business_days,
        recurring: text.recurring,
        minimum,
    })
}

fn part<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_yaml_ng::from_value(value.clone()).map_err(|error| error.to_string())
}

/// Parses `ANY` or a list of codes.
fn any_or_list(name: &str, value: &Value) -> Result<Option<Vec<String>>, String> {
    if value.as_str() == Some("ANY") {
        return Ok(None);
    }
    part(value)
        .map(Some)
        .map_err(|_| format!("{name}: ANY or a list of codes"))
}

/// Parses `ANY` or a list of purposes.
fn purposes(value: &Value) -> Result<Option<Vec<Purpose>>, String> {
    let Some(names) = any_or_list("purposes", value)? else {
        return Ok(None);
    };
    let purposes: Option<Vec<Purpose>> = names.iter().map(|name| Purpose::named(name)).collect();
    let expected = || {
        let known = Purpose::ALL.map(Purpose::as_str).join(", ");
        format!("purposes: ANY or a list of {known}")
    };
    Ok(Some(purposes.ok_or_else(expected)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalogue::Situation;

    const SHIPPED: &str = include_str!("../../../tests/data/catalogue.yaml");

    fn open(code: &str, plan: &str, country: &str, cycle: &str, purpose: Purpose) -> bool {
        let catalogue = read(SHIPPED).unwrap();
        let situation = Situation {
            plan,
            cycle,
            country,
            purpose,
        };
        catalogue.method(code).unwrap().is_open_to(situation)
    }

    #[test]
    fn the_shipped_methods_read_in_their_order() {
        let catalogue = read(SHIPPED).unwrap();
        let codes: Vec<&str> = catalogue
            .methods
            .iter()
            .map(|it| it.code.as_str())
            .collect();
        assert_eq!(codes, ["CARD", "NET_BANKING", "UPI", "WIRE", "CHEQUE"]);
        let india = catalogue.profile("india").unwrap();
        assert_eq!((india.currency, india.holidays.len()), (Currency::Inr, 4));
        let minimum = catalogue.method("CARD").unwrap().minimum.unwrap();
        assert_eq!(
            (minimum.minor(), minimum.currency()),
            (1_000_00, Currency::Inr)
        );
        let card = catalogue.method("CARD").unwrap();
        assert!(!card.reaches_minimum(Money::from_minor(999_99, Currency::Inr)));
        assert!(card.reaches_minimum(Money::from_minor(20_00, Currency::Usd)));
    }

    #[test]
    fn req_103_req_104_req_105_req_106_req_107_conditions_hold_together() {
        const PLANS: [&str; 3] = ["starter", "growth", "enterprise"];
        const CYCLES: [&str; 3] = ["MONTHLY", "QUARTERLY", "ANNUAL"];
        for plan in PLANS {
            for cycle in CYCLES {
                for country in ["IN", "SG", "AE", ""] {
                    let indian = country == "IN";
                    let is_open = |code| open(code, plan, country, cycle, Purpose::Subscription);
                    assert!(is_open("CARD"), "{plan} {cycle} {country}");
                    assert_eq!(is_open("NET_BANKING"), indian, "{plan} {cycle} {country}");
                    assert_eq!(is_open("UPI"), indian, "{plan} {cycle} {country}");
                    let slow = plan == "enterprise" && cycle == "ANNUAL";
                    assert_eq!(is_open("WIRE"), slow, "{plan} {cycle}");
                    assert_eq!(is_open("CHEQUE"), slow, "{plan} {cycle}");
                }
            }
        }
        assert!(!open(
            "WIRE",
            "enterprise",
            "IN",
            "ANNUAL",
            Purpose::Credits
        ));
        assert!(!open("WIRE", "", "IN", "", Purpose::Subscription));
    }

    #[test]
    fn a_purpose_that_nobody_knows_is_a_fault() {
        let read = |text: &str| purposes(&serde_yaml_ng::from_str(text).unwrap());
        assert_eq!(read("ANY"), Ok(None));
        assert_eq!(
            read("[SUBSCRIPTION, CREDITS]"),
            Ok(Some(vec![Purpose::Subscription, Purpose::Credits]))
        );
        assert_eq!(
            read("[SUBSCRIPTIONS]"),
            Err("purposes: ANY or a list of SUBSCRIPTION, CREDITS, INVOICE".to_owned())
        );
    }

    #[test]
    fn a_fault_names_its_path() {
        let broken = SHIPPED.replace(
            "recurring: false, minimum: \"5000.00\"",
            "recurring: perhaps",
        );
        let faults = read(&broken).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert_eq!(faults[0].path, "payment_methods.WIRE");
        assert_eq!(read("[]").unwrap_err()[0].path, "");
    }
}
