//! Days and the periods they make.

use chrono::{Datelike as _, Days, Months, NaiveDate, Weekday};
use thiserror::Error;

/// Whole days from `start` up to but without `end`; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period {
    start: NaiveDate,
    end: NaiveDate,
}

/// A period that would not hold a day, or a month that is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a period of at least one day")]
pub struct BadPeriod;

impl Period {
    /// The days from `start` up to but without `end`.
    ///
    /// # Errors
    /// `BadPeriod` unless `start < end`.
    pub fn new(start: NaiveDate, end: NaiveDate) -> Result<Self, BadPeriod> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(BadPeriod)
        }
    }

    /// The calendar month that holds `day`.
    ///
    /// # Errors
    /// `BadPeriod` beyond the years a date can have.
    pub fn month_of(day: NaiveDate) -> Result<Self, BadPeriod> {
        let start = day.with_day(1).ok_or(BadPeriod)?;
        let end = start.checked_add_months(Months::new(1)).ok_or(BadPeriod)?;
        Self::new(start, end)
    }

    /// The calendar month that "2026-04" spells.
    ///
    /// # Errors
    /// `BadPeriod` for any other form.
    pub fn parse_month(text: &str) -> Result<Self, BadPeriod> {
        let digits =
            |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        let (year, month) = text.split_once('-').ok_or(BadPeriod)?;
        if !digits(year, 4) || !digits(month, 2) {
            return Err(BadPeriod);
        }
        let year = year.parse().map_err(|_| BadPeriod)?;
        let month = month.parse().map_err(|_| BadPeriod)?;
        Self::month_of(NaiveDate::from_ymd_opt(year, month, 1).ok_or(BadPeriod)?)
    }

    /// Its first day.
    pub const fn start(self) -> NaiveDate {
        self.start
    }

    /// The day after its last.
    pub const fn end(self) -> NaiveDate {
        self.end
    }

    /// How many days it has, at least one.
    pub fn days(self) -> i64 {
        (self.end - self.start).num_days()
    }

    /// Whether it holds `day`.
    pub fn contains(self, day: NaiveDate) -> bool {
        self.start <= day && day < self.end
    }

    /// The day `index` days after its first.
    pub fn day(self, index: u32) -> Option<NaiveDate> {
        self.start.checked_add_days(Days::new(u64::from(index)))
    }
}

/// The day on which cycle `number` (from 0) of `months` months begins, counted from `anchor`.
///
/// Always derived from the anchor, never from the cycle before, so that 31 January, 28 February,
/// 31 March follow each other (`CLAMP_KEEP_ANCHOR`, R23). `None` beyond the years a date can have.
pub fn anniversary(anchor: NaiveDate, months: u32, number: u32) -> Option<NaiveDate> {
    anchor.checked_add_months(Months::new(months.checked_mul(number)?))
}

/// How many whole cycles of `months` months have passed from `anchor` to `day`; a day clamped to
/// the end of a short month completes its cycle. Zero before the anchor.
pub fn elapsed_cycles(anchor: NaiveDate, months: u32, day: NaiveDate) -> u32 {
    let reached = |number| anniversary(anchor, months, number).is_some_and(|start| start <= day);
    let mut number = 0;
    while reached(number + 1) {
        number += 1;
    }
    number
}

/// The `count`th business day after `from`: Monday to Friday less `holidays` (C-15). A count of zero
/// or less gives `from` itself.
pub fn business_day(from: NaiveDate, count: i32, holidays: &[NaiveDate]) -> NaiveDate {
    let is_business = |day: &NaiveDate| {
        !matches!(day.weekday(), Weekday::Sat | Weekday::Sun) && !holidays.contains(day)
    };
    let Some(place) = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_sub(1))
    else {
        return from;
    };
    let mut days = from.iter_days().skip(1).filter(is_business);
    days.nth(place).unwrap_or(NaiveDate::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_strictly() {
        let april = Period::parse_month("2026-04").unwrap();
        assert_eq!(
            (april.days(), april.start().to_string()),
            (30, "2026-04-01".to_owned())
        );
        assert_eq!(Period::parse_month("2028-02").unwrap().days(), 29);
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-00",
            "2026-4",
            "26-04",
            "2026-04-01",
            "+026-04",
        ] {
            assert_eq!(Period::parse_month(bad), Err(BadPeriod), "{bad}");
        }
    }

    #[test]
    fn cycles_come_from_the_anchor() {
        let anchor = "2026-01-31".parse().unwrap();
        let starts: Vec<_> = (0..4)
            .map(|n| anniversary(anchor, 1, n).unwrap().to_string())
            .collect();
        assert_eq!(
            starts,
            ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]
        );
        assert_eq!(elapsed_cycles(anchor, 1, "2026-02-27".parse().unwrap()), 0);
        assert_eq!(elapsed_cycles(anchor, 1, "2026-02-28".parse().unwrap()), 1);
    }

    #[test]
    fn req_062_ten_business_days_after_the_first_of_may_are_the_fifteenth() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        assert_eq!(business_day(day("2026-05-01"), 10, &[]), day("2026-05-15"));
        let holidays = [day("2026-05-25")];
        assert_eq!(
            business_day(day("2026-05-22"), 1, &holidays),
            day("2026-05-26")
        );
        assert_eq!(business_day(day("2026-05-23"), 1, &[]), day("2026-05-25"));
        assert_eq!(business_day(day("2026-05-23"), 0, &[]), day("2026-05-23"));
    }
}
