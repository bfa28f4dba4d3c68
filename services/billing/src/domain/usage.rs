//! Usage events: classification as new, repeated or correction, and their sums.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, NaiveDate, Utc};
use uuid::Uuid;
use values::Period;

/// The identity of an event: root account, month of use, and the key of source and event id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKey {
    /// The root account.
    pub root: Uuid,
    /// The first day of the month of use.
    pub month: NaiveDate,
    /// Hash of source and event id.
    pub key: Uuid,
}

/// The values of an event. Two events with the same key and values are the same event (D17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    /// The account or subaccount that used it.
    pub account: Uuid,
    /// The category.
    pub category: String,
    /// Time of use.
    pub used_at: DateTime<Utc>,
    /// Quantity in millionths.
    pub quantity_micros: i64,
    /// Price in millionths.
    pub price_micros: i64,
    /// Whether billing rated it and debited the balance (D7); otherwise the source priced it and settled it.
    pub rated: bool,
    /// Whether it is kept without being billed because its account was closed at the time of use (D28).
    pub unbilled: bool,
}

impl Values {
    /// The amount debited from the balance for it, in millionths.
    pub const fn debited_micros(&self) -> i64 {
        if self.rated { self.price_micros } else { 0 }
    }

    /// The values to store for an account closed at `closed_at`. Usage at or after that instant is not billed, and
    /// its price is 0 if billing would have rated it. Earlier usage is unchanged, whenever it arrives.
    ///
    /// Source: D28.
    #[must_use]
    pub fn kept(self, closed_at: DateTime<Utc>) -> Self {
        if self.used_at < closed_at {
            return self;
        }
        self.unbilled()
    }

    /// The values as they are kept of an account whose closing is settled: no balance pays any more for what we rate.
    /// What was settled elsewhere may still count in the pool of a contract that another pays for.
    ///
    /// Source: D14.
    #[must_use]
    pub fn kept_after_settlement(self) -> Self {
        if self.rated { self.unbilled() } else { self }
    }

    fn unbilled(self) -> Self {
        Self {
            price_micros: if self.rated { 0 } else { self.price_micros },
            unbilled: true,
            ..self
        }
    }
}

/// How an event compares with what is stored under its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// The first event with its key.
    New,
    /// The same values are stored already.
    Repeated,
    /// Other values are stored; these replace them.
    Correction,
}

/// Compares `values` with the values currently `counting` under the same key.
pub fn arrival(values: &Values, counting: Option<&Values>) -> Arrival {
    match counting {
        None => Arrival::New,
        Some(known) if known == values => Arrival::Repeated,
        Some(_) => Arrival::Correction,
    }
}

/// The billing month of usage in `month`: the month itself, or the first later one that is not closed (D14).
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

/// The first day of the month that contains `day`.
pub fn month_of(day: NaiveDate) -> NaiveDate {
    Period::month_of(day).map_or(day, Period::start)
}

/// The key of a usage sum.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SumKey {
    /// The root account.
    pub root: Uuid,
    /// The billing month.
    pub billing_month: NaiveDate,
    /// The day of use.
    pub day: NaiveDate,
    /// The category.
    pub category: String,
}

/// A sum of usage, or a change to one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Quantity in millionths.
    pub quantity_micros: i64,
    /// Price in millionths.
    pub price_micros: i64,
    /// Number of events.
    pub events: i64,
}

/// A sum overflows 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sum of usage exceeds 64 bits of millionths; send smaller amounts")]
pub struct SumOutOfRange;

/// Changes to sums, in the order of their keys.
#[derive(Debug, Default)]
pub struct Changes(BTreeMap<SumKey, Sum>);

impl Changes {
    /// Adds (`sign` 1) or subtracts (`sign` -1) the values of an event. Unbilled usage is in no sum.
    ///
    /// # Errors
    /// `SumOutOfRange` if a sum overflows.
    pub fn note(&mut self, key: SumKey, values: &Values, sign: i64) -> Result<(), SumOutOfRange> {
        if values.unbilled {
            return Ok(());
        }
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

    /// The changes by billing month, root account and category.
    ///
    /// # Errors
    /// `SumOutOfRange` if a sum overflows.
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
    fn what_nobody_debits_any_more_is_not_billed() {
        let values = |rated| Values {
            account: Uuid::nil(),
            category: "sms".to_owned(),
            used_at: DateTime::UNIX_EPOCH,
            quantity_micros: 1_000_000,
            price_micros: 200_000,
            rated,
            unbilled: false,
        };
        let kept = values(true).kept_after_settlement();
        assert_eq!((kept.unbilled, kept.price_micros), (true, 0));
        assert_eq!(values(false).kept_after_settlement(), values(false));
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
            unbilled: false,
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

    #[test]
    fn usage_timed_at_the_closing_or_later_is_not_billed_and_what_was_before_is() {
        let closed_at: DateTime<Utc> = "2026-04-10T10:00:00Z".parse().unwrap();
        let kept = |used_at: &str, rated: bool| {
            let values = Values {
                account: Uuid::nil(),
                category: "sms".to_owned(),
                used_at: used_at.parse().unwrap(),
                quantity_micros: 1_000_000,
                price_micros: 200_000,
                rated,
                unbilled: false,
            };
            let kept = values.kept(closed_at);
            (kept.unbilled, kept.price_micros, kept.debited_micros())
        };
        let before = "2026-04-10T09:59:59.999999Z";
        assert_eq!(kept(before, true), (false, 200_000, 200_000));
        assert_eq!(kept(before, false), (false, 200_000, 0));
        for after in ["2026-04-10T10:00:00Z", "2026-04-13T10:00:00Z"] {
            assert_eq!(kept(after, true), (true, 0, 0));
            assert_eq!(kept(after, false), (true, 200_000, 0), "as it was sent");
        }
    }

    #[test]
    fn what_is_not_billed_is_in_no_sum() {
        let values = Values {
            account: Uuid::nil(),
            category: "sms".to_owned(),
            used_at: DateTime::UNIX_EPOCH,
            quantity_micros: 1,
            price_micros: 500,
            rated: false,
            unbilled: true,
        };
        let key = SumKey {
            root: Uuid::nil(),
            billing_month: day("1970-01-01"),
            day: day("1970-01-01"),
            category: "sms".to_owned(),
        };
        let mut changes = Changes::default();
        changes.note(key, &values, 1).unwrap();
        assert_eq!(changes.by_day().count(), 0);
    }
}
