//! When a billing run may start.

use chrono::{DateTime, Utc};
use values::{Period, Zone};

/// Whether the run of `period` may start at `now`: once the period has ended in the family's zone
/// (D14). Before that nothing of it is charged, neither a share nor a minimum.
pub fn may_start(period: Period, zone: Zone, now: DateTime<Utc>) -> bool {
    zone.start_of(period.end()) <= now
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }
}
