//! Retention of recordings: as many days of 24 hours as the plan in force grants, whatever applied before.

use chrono::{DateTime, TimeDelta, Utc};

/// How often retention is re-evaluated: the plan may change on any day.
const LOOK: TimeDelta = TimeDelta::days(1);

/// The retention that a plan's value grants. `None` if it is not a number, such as without a plan: nothing expires
/// then.
fn days(value: &str) -> Option<TimeDelta> {
    value.parse().ok().and_then(TimeDelta::try_days)
}

/// Recordings made at or before this instant have expired at `now`.
pub fn expired_by(value: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(days(value)?)
}

/// When retention is checked next, given that the oldest recording held was made at `made_at`.
pub fn next_look(value: &str, made_at: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let expiry = days(value).and_then(|days| made_at.checked_add_signed(days));
    expiry.map_or(now + LOOK, |expiry| expiry.min(now + LOOK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_088_a_recording_expires_with_the_days_of_the_plan_and_not_a_moment_before() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let made = at("2026-01-01T00:00:00Z");
        for (value, expiry) in [
            ("30", "2026-01-31T00:00:00Z"),
            ("90", "2026-04-01T00:00:00Z"),
        ] {
            let expiry = at(expiry);
            let before = expiry - TimeDelta::microseconds(1);
            assert!(expired_by(value, before).unwrap() < made);
            assert_eq!(expired_by(value, expiry), Some(made));
            assert_eq!(next_look(value, made, before), expiry);
        }
        let now = at("2026-01-10T00:00:00Z");
        assert_eq!(next_look("30", made, now), now + LOOK);
        for none in ["", "CONTRACT"] {
            assert_eq!(expired_by(none, now), None);
            assert_eq!(next_look(none, made, now), now + LOOK);
        }
    }
}
