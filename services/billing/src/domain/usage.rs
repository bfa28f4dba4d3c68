//! Usage events: which are new, which are repetitions, which correct; and what they add up to.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, NaiveDate, Utc};
use uuid::Uuid;
use values::Period;

/// What identifies an event: the root account, the month of use and the key of source and event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// The root account.
    pub root: Uuid,
    /// The first day of the month of use.
    pub month: NaiveDate,
    /// The key of source and event id.
    pub key: Uuid,
}

/// The values of an event: two events of one key with the same values are one (D17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// The account or subaccount.
    pub account: Uuid,
    /// The category.
    pub category: String,
    /// When it was used.
    pub used_at: DateTime<Utc>,
    /// How much, in millionths.
    pub quantity_micros: i64,
    /// What it cost, in millionths.
    pub price_micros: i64,
    /// Whether we gave it its price, and debited it (D7); else it was settled elsewhere.
    pub rated: bool,
}

impl Values {
    /// What the balance paid for it, in millionths.
    pub const fn debited_micros(&self) -> i64 {
        if self.rated { self.price_micros } else { 0 }
    }
}

/// What an event is, beside what is known of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Seen for the first time.
    New,
    /// Seen before with the same values.
    Repeated,
    /// Takes the place of earlier values.
    Correction,
}

/// What `values` are, beside the values that `count` for the same key now.
pub fn arrival(values: &Values, counting: Option<&Values>) -> Arrival {
    match counting {
        None => Arrival::New,
        Some(known) if known == values => Arrival::Repeated,
        Some(_) => Arrival::Correction,
    }
}

/// The month that usage of `month` is billed in: its own, or the first later one that is not closed
/// (D14).
pub fn billing_month(month: NaiveDate, closed: &[NaiveDate]) -> NaiveDate {
    let mut candidate = month;
    while closed.contains(&candidate) {
        let Some(next) = candidate.checked_add_months(Months::new(1)) else {
            break;
        };
        candidate = next;
    }
    candidate
}

/// The first day of the month that holds `day`.
pub fn month_of(day: NaiveDate) -> NaiveDate {
    Period::month_of(day).map_or(day, Period::start)
}

/// Where a sum of usage is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumKey {
    /// The root account.
    pub root: Uuid,
    /// The month it is billed in.
    pub billing_month: NaiveDate,
    /// The day of use.
    pub day: NaiveDate,
    /// The category.
    pub category: String,
}

/// A sum of usage, or a change to one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Millionths of the quantity.
    pub quantity_micros: i64,
    /// Millionths of the price.
    pub price_micros: i64,
    /// Events that count.
    pub events: i64,
}

/// A sum left 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum of usage is out of range")]
pub struct SumOutOfRange;

/// Changes to sums, in the order of their keys.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<SumKey, Sum>);

impl Changes {
    /// Adds (`sign` 1) or takes away (`sign` -1) the values of an event.
    ///
    /// # Errors
    /// `SumOutOfRange`.
    pub fn note(&mut self, key: SumKey, values: &Values, sign: i64) -> Result<(), SumOutOfRange> {
        let sum = self.0.entry(key).or_default();
        let add = |to: i64, value: i64| {
            value
                .checked_mul(sign)
                .and_then(|value| to.checked_add(value))
                .ok_or(SumOutOfRange)
        };
        sum.quantity_micros = add(sum.quantity_micros, values.quantity_micros)?;
        sum.price_micros = add(sum.price_micros, values.price_micros)?;
        sum.events += sign;
        Ok(())
    }

    /// The changes by day.
    pub fn by_day(&self) -> impl Iterator<Item = (&SumKey, &Sum)> {
        self.0.iter()
    }

    /// The changes by month of billing: root, month and category.
    ///
    /// # Errors
    /// `SumOutOfRange`.
    pub fn by_month(&self) -> Result<BTreeMap<(NaiveDate, Uuid, &str), Sum>, SumOutOfRange> {
        let mut months: BTreeMap<(NaiveDate, Uuid, &str), Sum> = BTreeMap::new();
        for (key, change) in &self.0 {
            let sum = months
                .entry((key.billing_month, key.root, key.category.as_str()))
                .or_default();
            let add = |to: i64, value: i64| to.checked_add(value).ok_or(SumOutOfRange);
            sum.quantity_micros = add(sum.quantity_micros, change.quantity_micros)?;
            sum.price_micros = add(sum.price_micros, change.price_micros)?;
            sum.events += change.events;
        }
        Ok(months)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn usage_of_a_closed_month_joins_the_next_open_one() {
        let closed = [day("2026-03-01"), day("2026-04-01")];
        assert_eq!(billing_month(day("2026-03-01"), &closed), day("2026-05-01"));
        assert_eq!(billing_month(day("2026-05-01"), &closed), day("2026-05-01"));
        assert_eq!(billing_month(day("2026-02-01"), &closed), day("2026-02-01"));
    }

    #[test]
    fn a_correction_changes_sums_by_the_difference() {
        let values = |price_micros| Values {
            account: Uuid::nil(),
            category: "sms".to_owned(),
            used_at: DateTime::UNIX_EPOCH,
            quantity_micros: 1,
            price_micros,
            rated: false,
        };
        let key = |on: &str| SumKey {
            root: Uuid::nil(),
            billing_month: day("2026-04-01"),
            day: day(on),
            category: "sms".to_owned(),
        };
        let mut changes = Changes::default();
        changes.note(key("2026-04-02"), &values(500), -1).unwrap();
        changes.note(key("2026-04-03"), &values(700), 1).unwrap();
        let month = changes.by_month().unwrap();
        assert_eq!(
            month.values().copied().collect::<Vec<_>>(),
            [Sum {
                quantity_micros: 0,
                price_micros: 200,
                events: 0
            }]
        );
        assert_eq!(
            changes.note(key("2026-04-03"), &values(i64::MAX), 1),
            Err(SumOutOfRange)
        );
    }
}
