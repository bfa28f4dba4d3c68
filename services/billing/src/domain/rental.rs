//! Rentals: what is rented, and the start times of its months.

use chrono::{DateTime, Utc};
use values::{Zone, anniversary};

words! {
    /// What is rented.
    Kind {
        /// A phone number.
        Number = "NUMBER",
        /// An add-on to the plan.
        AddOn = "ADD_ON",
    }
}

words! {
    /// What a plan says about an add-on.
    Access {
        /// The plan doesn't have it.
        None = "NONE",
        /// It is booked and paid apart from the plan.
        AddOn = "ADDON",
        /// It is part of the plan.
        Included = "INCLUDED",
    }
}

impl Access {
    /// The value of an entitlement, which is empty if no plan is in force. `None` if it is the value of no add-on.
    pub fn read(value: &str) -> Option<Self> {
        if value.is_empty() {
            return Some(Self::None);
        }
        Self::ALL.iter().copied().find(|it| it.as_str() == value)
    }
}

/// The start of month `number` of a rental, counted from 0: the same day of the month as the first, in the account's
/// time zone, or the last day of a shorter month (R23). `None` if the date is out of range.
pub fn month_start(zone: Zone, start: DateTime<Utc>, number: i32) -> Option<DateTime<Utc>> {
    let number = u32::try_from(number).ok()?;
    if number == 0 {
        return Some(start);
    }
    Some(zone.start_of(anniversary(zone.day(start), 1, number)?))
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn an_answer_that_is_no_value_of_an_add_on_makes_nothing_free() {
        assert_eq!(Access::read(""), Some(Access::None));
        assert_eq!(Access::read("ADDON"), Some(Access::AddOn));
        assert_eq!(Access::read("INCLUDED"), Some(Access::Included));
        assert_eq!(Access::read("UNLIMITED"), None);
    }

    fn days(zone: &str, start: &str) -> Vec<String> {
        let zone = Zone::parse(zone).unwrap();
        let start = start.parse().unwrap();
        (0..4)
            .map(|number| {
                let at = month_start(zone, start, number).unwrap();
                zone.day(at).to_string()
            })
            .collect()
    }

    #[test]
    fn a_month_begins_on_the_day_of_the_first_in_its_zone() {
        // 00:30 on 1 March in India is 28 February in UTC; the next month must not start on 29 March.
        assert_eq!(
            days("Asia/Kolkata", "2026-02-28T19:00:00Z"),
            ["2026-03-01", "2026-04-01", "2026-05-01", "2026-06-01"]
        );
        assert_eq!(
            days("America/Los_Angeles", "2026-03-01T04:00:00Z"),
            ["2026-02-28", "2026-03-28", "2026-04-28", "2026-05-28"]
        );
    }

    #[test]
    fn a_shorter_month_does_not_move_the_day() {
        assert_eq!(
            days("UTC", "2026-01-31T04:00:00Z"),
            ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]
        );
    }

    proptest::proptest! {
        #[test]
        fn the_twelfth_month_begins_on_the_same_day_of_the_next_year(
            seconds in 1_767_225_600_i64..1_861_920_000, zone in 0_usize..4,
        ) {
            let names = ["UTC", "Asia/Kolkata", "America/Los_Angeles", "Pacific/Auckland"];
            let zone = Zone::parse(names[zone]).unwrap();
            let start = DateTime::from_timestamp(seconds, 0).unwrap();
            let months: Vec<NaiveDate> = (0..=12)
                .map(|number| zone.day(month_start(zone, start, number).unwrap()))
                .collect();
            proptest::prop_assert_eq!(months[12], anniversary(months[0], 12, 1).unwrap());
            proptest::prop_assert!(months.windows(2).all(|pair| pair[0] < pair[1]));
            for (number, month) in (0..).zip(&months) {
                proptest::prop_assert_eq!(*month, anniversary(months[0], 1, number).unwrap());
            }
        }
    }
}
