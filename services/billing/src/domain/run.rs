//! When a billing run may start and when it is due.

use chrono::{DateTime, TimeDelta, Utc};
use values::{Period, Zone};

/// Whether the run of `period` may start at `now`, which is after the end of the period in the family's time zone
/// (D14). Before that, no share and no minimum of it is charged.
pub fn may_start(period: Period, zone: Zone, now: DateTime<Utc>) -> bool {
    zone.start_of(period.end()) <= now
}

/// Whether a dry run of `period` may start at `now`: as soon as the period has begun, as it charges nothing. Before its end
/// it is a forecast.
pub fn may_forecast(period: Period, zone: Zone, now: DateTime<Utc>) -> bool {
    zone.start_of(period.start()) <= now
}

/// How long after it was due a period that is not billed is told of.
pub const OVERDUE: TimeDelta = TimeDelta::days(1);

/// When the scheduled run of `period` is due: after the end of the period and the grace time for late usage (D30).
pub fn due_at(period: Period, zone: Zone, grace: TimeDelta) -> DateTime<Utc> {
    zone.start_of(period.end()) + grace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduled_run_waits_for_the_hours_of_grace_in_the_zone_of_the_family() {
        let april = Period::parse_month("2026-04").unwrap();
        for (zone, hours, expected) in [
            ("UTC", 24, "2026-05-02T00:00:00Z"),
            ("UTC", 0, "2026-05-01T00:00:00Z"),
            ("America/New_York", 6, "2026-05-01T10:00:00Z"),
        ] {
            let zone = Zone::parse(zone).unwrap();
            let due = due_at(april, zone, TimeDelta::hours(hours));
            assert_eq!(due, expected.parse::<DateTime<Utc>>().unwrap());
        }
    }

    #[test]
    fn a_run_starts_with_the_first_instant_after_its_period() {
        let (april, utc) = (
            Period::parse_month("2026-04").unwrap(),
            Zone::parse("UTC").unwrap(),
        );
        assert!(!may_start(
            april,
            utc,
            "2026-04-30T23:59:59.999999Z".parse().unwrap()
        ));
        assert!(may_start(
            april,
            utc,
            "2026-05-01T00:00:00Z".parse().unwrap()
        ));
        let forecast = |at: &str| may_forecast(april, utc, at.parse().unwrap());
        assert!(!forecast("2026-03-31T23:59:59.999999Z"));
        assert!(forecast("2026-04-01T00:00:00Z"));
    }
}
