//! Time zones: which instant is which day.

use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use thiserror::Error;

/// An IANA time zone, such as `UTC` or `Asia/Kolkata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

/// A text that is not the name of an IANA zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not an IANA time zone")]
pub struct UnknownZone;

impl Zone {
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
        let mut local = day.and_time(NaiveTime::MIN);
        for _ in 0..=48 {
            match self.0.from_local_datetime(&local) {
                MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => {
                    return at.with_timezone(&Utc);
                }
                // No zone has skipped anything but multiples of half an hour since 1970.
                MappedLocalTime::None => local += TimeDelta::minutes(30),
            }
        }
        local.and_utc()
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
        assert_eq!(Zone::parse("Mars/Olympus"), Err(UnknownZone));
    }
}
