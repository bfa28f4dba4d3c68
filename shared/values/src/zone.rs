//! Time zones: which instant is which day.

use chrono::{
    DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, TimeZone as _, Utc,
};
use chrono_tz::Tz;
use thiserror::Error;

/// An IANA time zone, such as `UTC` or `Asia/Kolkata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

/// The longest gap that a zone has ever skipped, in minutes: one day.
const MINUTES_SKIPPED: u32 = 24 * 60;

/// A text that is not the name of an IANA zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an IANA time zone")]
pub struct UnknownZone;

impl Zone {
    /// Coordinated Universal Time.
    pub const UTC: Self = Self(Tz::UTC);

    /// The zone of this name.
    ///
    /// # Errors
    /// `UnknownZone`.
    pub fn parse(name: &str) -> Result<Self, UnknownZone> {
        name.parse().map(Self).map_err(|_| UnknownZone)
    }

    /// Its IANA name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }

    /// The calendar day of `instant` here.
    pub fn day(self, instant: DateTime<Utc>) -> NaiveDate {
        instant.with_timezone(&self.0).date_naive()
    }

    /// The first instant of `day` here.
    ///
    /// Where midnight was skipped it is the first instant after the gap, where it came twice the
    /// earlier one; a day that never was begins where the next one does.
    pub fn start_of(self, day: NaiveDate) -> DateTime<Utc> {
        self.first_at(day.and_time(NaiveTime::MIN))
    }

    /// The first instant at which clocks here show `local`, or a later time if `local` was skipped.
    fn first_at(self, local: NaiveDateTime) -> DateTime<Utc> {
        let mut shown = local;
        // Zones have skipped 15 minutes, 45 minutes, 44.5 minutes, and a whole day.
        for _ in 0..=MINUTES_SKIPPED {
            match self.0.from_local_datetime(&shown) {
                MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => {
                    let mut at = at.with_timezone(&Utc);
                    // Search backwards, to the second, for the end of the gap.
                    while local < shown && local <= self.shows(at - TimeDelta::seconds(1)) {
                        at -= TimeDelta::seconds(1);
                    }
                    return at;
                }
                MappedLocalTime::None => shown += TimeDelta::minutes(1),
            }
        }
        shown.and_utc()
    }

    /// The local time at an instant.
    pub fn shows(self, at: DateTime<Utc>) -> NaiveDateTime {
        at.with_timezone(&self.0).naive_local()
    }

    /// The day that begins here at `instant`, or else contains it. If several days begin at that instant because a
    /// day was skipped, the first of them, so that consecutive periods add up.
    pub fn day_from(self, instant: DateTime<Utc>) -> NaiveDate {
        let mut day = self.day(instant);
        if self.shows(instant).time() != NaiveTime::MIN {
            return day;
        }
        while let Some(before) = day.pred_opt()
            && self.start_of(before) == instant
        {
            day = before;
        }
        day
    }

    /// The instant this many days after `instant`, at the same local time. A skipped time becomes the first instant
    /// after the gap; an ambiguous one becomes the earlier instant.
    pub fn days_after(self, instant: DateTime<Utc>, days: i64) -> DateTime<Utc> {
        let shown = self.shows(instant);
        let later = TimeDelta::try_days(days).and_then(|days| shown.checked_add_signed(days));
        later.map_or(DateTime::<Utc>::MAX_UTC, |local| self.first_at(local))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(zone: &str, day: &str, start: &str) {
        let zone = Zone::parse(zone).unwrap();
        assert_eq!(
            zone.start_of(day.parse().unwrap()),
            start.parse::<DateTime<Utc>>().unwrap()
        );
    }

    #[test]
    fn a_day_starts_where_its_zone_says() {
        check("UTC", "2026-04-15", "2026-04-15T00:00:00Z");
        check("Asia/Kolkata", "2024-03-01", "2024-02-29T18:30:00Z");
        check("America/Los_Angeles", "2024-04-01", "2024-04-01T07:00:00Z");
        check("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"); // midnight was skipped
        check("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"); // the day was skipped
        check("Asia/Kathmandu", "1986-01-01", "1985-12-31T18:30:00Z"); // a quarter of an hour was
        check("Africa/Monrovia", "1972-01-07", "1972-01-07T00:44:30Z"); // 44 minutes and a half were
        assert_eq!(Zone::parse("Mars/Olympus"), Err(UnknownZone));
    }

    #[test]
    fn a_day_that_never_was_begins_where_the_next_one_does() {
        let apia = Zone::parse("Pacific/Apia").unwrap();
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        for (instant, expected) in [
            ("2011-12-30T09:59:59Z", "2011-12-29"),
            ("2011-12-30T10:00:00Z", "2011-12-30"),
            ("2011-12-30T10:00:01Z", "2011-12-31"),
            ("2011-12-31T10:00:00Z", "2012-01-01"),
        ] {
            assert_eq!(apia.day_from(at(instant)).to_string(), expected);
        }
    }

    #[test]
    fn days_are_those_of_the_zone_whatever_its_clocks_do() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        for (zone, from, days, expected) in [
            // Thirty days of 24 hours from 23:30 on 20 February end at 00:30 on 23 March.
            (
                "America/New_York",
                "2026-02-21T04:30:00Z",
                30,
                "2026-03-23T03:30:00Z",
            ),
            // Clocks go back on 1 November: 00:30 stays 00:30.
            (
                "America/New_York",
                "2026-10-20T04:30:00Z",
                30,
                "2026-11-19T05:30:00Z",
            ),
            // 02:30 of 8 March is skipped.
            (
                "America/New_York",
                "2026-03-01T07:30:00Z",
                7,
                "2026-03-08T07:00:00Z",
            ),
            (
                "Asia/Kolkata",
                "2026-03-01T12:00:00Z",
                7,
                "2026-03-08T12:00:00Z",
            ),
        ] {
            let zone = Zone::parse(zone).unwrap();
            assert_eq!(zone.days_after(at(from), days), at(expected), "{from}");
        }
    }
}
