//! Payment methods of the catalogue, and the conditions under which they are available (C-26).

use chrono::NaiveDate;
use values::{Currency, Money, Zone};

use super::movement::Purpose;

/// The part of a catalogue version that payments reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Version name.
    pub version: String,
    /// Payment methods, in the document's order.
    pub methods: Vec<Method>,
    /// Account profiles.
    pub profiles: Vec<Profile>,
    /// Codes of the plans that can be paid for.
    pub plans: Vec<String>,
}

/// An account profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Profile code.
    pub code: String,
    /// Currency of its charges.
    pub currency: Currency,
    /// Time zone that defines its days.
    pub zone: Zone,
    /// Public holidays: weekdays that are not business days.
    pub holidays: Vec<NaiveDate>,
}

/// A payment method that the catalogue offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Method code, such as `CARD`.
    pub code: String,
    /// Plans that it can pay for; `None` for all.
    pub plans: Option<Vec<String>>,
    /// Billing countries in which it is offered; `None` for all.
    pub countries: Option<Vec<String>>,
    /// Billing cycles that it can pay for; `None` for all.
    pub cycles: Option<Vec<String>>,
    /// Purposes that it can pay for; `None` for all.
    pub purposes: Option<Vec<Purpose>>,
    /// Accepted card networks; empty if the method has none.
    pub networks: Vec<String>,
    /// Accepted banks; empty if the method has none.
    pub banks: Vec<String>,
    /// Accepted apps; empty if the method has none.
    pub apps: Vec<String>,
    /// Whether the payment arrives after days and without a provider, such as a bank transfer.
    pub offline: bool,
    /// Business days that an offline settlement is expected to take.
    pub business_days: i32,
    /// Whether it supports off-session charges.
    pub recurring: bool,
    /// Minimum charge. It applies only to charges in its own currency.
    pub minimum: Option<Money>,
}

/// What is to be paid, and from which country.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation<'a> {
    /// Plan; empty for none, which meets no condition on plans.
    pub plan: &'a str,
    /// Billing cycle; empty for none, which meets no condition on cycles.
    pub cycle: &'a str,
    /// Billing country; empty if unknown, which meets no condition on countries.
    pub country: &'a str,
    /// What is to be paid for.
    pub purpose: Purpose,
}

impl Method {
    /// Whether every condition holds (REQ-103 to REQ-107).
    pub fn is_open_to(&self, situation: Situation<'_>) -> bool {
        let holds = |condition: &Option<Vec<String>>, value: &str| {
            condition
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|it| it == value))
        };
        let purposes = self.purposes.as_ref();
        holds(&self.plans, situation.plan)
            && holds(&self.countries, situation.country)
            && holds(&self.cycles, situation.cycle)
            && purposes.is_none_or(|allowed| allowed.contains(&situation.purpose))
    }

    /// Whether the method may be added in a billing country, regardless of what it will pay for.
    pub fn is_offered_in(&self, country: &str) -> bool {
        self.countries
            .as_ref()
            .is_none_or(|allowed| allowed.iter().any(|it| it == country))
    }

    /// Whether `money` reaches the minimum.
    pub fn reaches_minimum(&self, money: Money) -> bool {
        self.minimum.is_none_or(|minimum| {
            minimum.currency() != money.currency() || minimum.minor() <= money.minor()
        })
    }
}

impl Catalogue {
    /// The method with this code.
    pub fn method(&self, code: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.code == code)
    }

    /// The profile with this code.
    pub fn profile(&self, code: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.code == code)
    }
}
