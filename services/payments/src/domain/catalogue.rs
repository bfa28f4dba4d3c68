//! Which ways to pay are open to whom: all conditions of a method must hold (C-26).

use chrono::NaiveDate;
use values::{Currency, Money, Zone};

/// What payments reads of a catalogue version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalogue {
    /// Its name.
    pub version: String,
    /// The methods, in the document's order.
    pub methods: Vec<Method>,
    /// The account profiles.
    pub profiles: Vec<Profile>,
    /// The plans that can be paid for.
    pub plans: Vec<String>,
}

/// What accounts of a profile have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Its code.
    pub code: String,
    /// The currency of their charges.
    pub currency: Currency,
    /// The zone that makes their days.
    pub zone: Zone,
    /// Days from Monday to Friday on which no business is done.
    pub holidays: Vec<NaiveDate>,
}

/// A way to pay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Method {
    /// Its code, such as `CARD`.
    pub code: String,
    /// The plans it pays for; `None` for any.
    pub plans: Option<Vec<String>>,
    /// The billing countries it is offered in; `None` for any.
    pub countries: Option<Vec<String>>,
    /// The cycles it pays for; `None` for any.
    pub cycles: Option<Vec<String>>,
    /// The purposes it pays for; `None` for any.
    pub purposes: Option<Vec<String>>,
    /// The networks accepted; empty for a method without.
    pub networks: Vec<String>,
    /// The banks accepted; empty for a method without.
    pub banks: Vec<String>,
    /// The apps accepted; empty for a method without.
    pub apps: Vec<String>,
    /// Whether money comes after days, by no provider.
    pub offline: bool,
    /// Business days that an offline settlement is expected to take.
    pub business_days: i32,
    /// Whether it can be charged without the person.
    pub recurring: bool,
    /// The least a charge may be, in the currency that it is said in; other currencies have none.
    pub minimum: Option<Money>,
}

/// What is to be paid, and from where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation<'a> {
    /// The plan; empty for none, which meets no condition on the plan.
    pub plan: &'a str,
    /// The cycle; empty for none, which meets no condition on the cycle.
    pub cycle: &'a str,
    /// The billing country; empty while unknown, which meets no condition on the country.
    pub country: &'a str,
    /// `SUBSCRIPTION`, `CREDITS` or `INVOICE`.
    pub purpose: &'a str,
}

impl Method {
    /// Whether every condition holds (REQ-103 to REQ-107).
    pub fn is_open_to(&self, situation: Situation<'_>) -> bool {
        let holds = |condition: &Option<Vec<String>>, value: &str| {
            condition
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|it| it == value))
        };
        holds(&self.plans, situation.plan)
            && holds(&self.countries, situation.country)
            && holds(&self.cycles, situation.cycle)
            && holds(&self.purposes, situation.purpose)
    }

    /// Whether it may be added in a billing country, whatever will be paid by it.
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
    /// The method of this code.
    pub fn method(&self, code: &str) -> Option<&Method> {
        self.methods.iter().find(|method| method.code == code)
    }

    /// The profile of this code.
    pub fn profile(&self, code: &str) -> Option<&Profile> {
        self.profiles.iter().find(|profile| profile.code == code)
    }
}
