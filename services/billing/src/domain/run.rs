//! Billing runs: their states, when one may start and when it is due.

use chrono::{DateTime, TimeDelta, Utc};
use values::{Period, Zone};

words! {
    /// What a run does with the months that it rates.
    Phase {
        /// It rates only: a dry run, or one that waits for approval before it invoices anybody.
        Rate = "RATE",
        /// It issues invoices.
        Settle = "SETTLE",
    }
}

words! {
    /// State of a run.
    State {
        /// Its shards are being billed.
        Running = "RUNNING",
        /// An operator has halted it; it can be resumed.
        Halted = "HALTED",
        /// All payers are rated, and nobody is invoiced until an operator approves it.
        AwaitingApproval = "AWAITING_APPROVAL",
        /// All shards are done.
        Completed = "COMPLETED",
        /// Cancelled by an operator: its invoices stay, and the next run of the month bills the others.
        Cancelled = "CANCELLED",
    }
}

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An operator halts it.
    Halted,
    /// An operator resumes it.
    Resumed,
    /// All its shards are rated, and it needs approval.
    Rated,
    /// An operator approves it; its shards are billed from the start.
    Approved,
    /// All its shards are done.
    Finished,
    /// An operator cancels it.
    Cancelled,
}

/// The state of a run after an event; `None` if the event changes nothing. What is completed or cancelled stays so.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Running, Event::Halted) => Some(State::Halted),
        (State::Running, Event::Rated) => Some(State::AwaitingApproval),
        (State::Running, Event::Finished) => Some(State::Completed),
        (State::Halted, Event::Resumed) | (State::AwaitingApproval, Event::Approved) => {
            Some(State::Running)
        }
        (State::Running | State::Halted | State::AwaitingApproval, Event::Cancelled) => {
            Some(State::Cancelled)
        }
        (State::Running, Event::Resumed | Event::Approved)
        | (State::Halted, Event::Halted | Event::Rated | Event::Approved | Event::Finished)
        | (
            State::AwaitingApproval,
            Event::Halted | Event::Resumed | Event::Rated | Event::Finished,
        )
        | (State::Completed | State::Cancelled, _) => None,
    }
}

words! {
    /// What a run has to be for a request.
    Needed {
        /// It runs.
        Running = "running",
        /// It is halted.
        Halted = "halted",
        /// It waits for approval.
        Waiting = "waiting",
        /// It is completed.
        Completed = "completed",
        /// It is neither completed nor cancelled.
        UnderWay = "under way",
    }
}

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
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const EVENTS: &[Event] = &[
        Event::Halted,
        Event::Resumed,
        Event::Rated,
        Event::Approved,
        Event::Finished,
        Event::Cancelled,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{AwaitingApproval, Cancelled, Completed, Halted, Running};
        let (halted, waits, done) = (Some(Halted), Some(AwaitingApproval), Some(Completed));
        let (runs, cancelled) = (Some(Running), Some(Cancelled));
        for (state, expected) in [
            (Running, [halted, None, waits, None, done, cancelled]),
            (Halted, [None, runs, None, None, None, cancelled]),
            (AwaitingApproval, [None, None, None, runs, None, cancelled]),
            (Completed, [None; 6]),
            (Cancelled, [None; 6]),
        ] {
            for (event, expected) in EVENTS.iter().zip(expected) {
                assert_eq!(after(state, *event), expected, "{state:?} {event:?}");
            }
        }
    }

    proptest! {
        /// Whatever the order of events, a run ends once, and only shards of a running one finish it.
        #[test]
        fn a_run_ends_once(events in proptest::collection::vec(select(EVENTS), 0..16)) {
            let mut state = State::Running;
            for event in events {
                if let Some(next) = after(state, event) {
                    prop_assert!(!matches!(state, State::Completed | State::Cancelled));
                    prop_assert!(next != State::Completed || state == State::Running);
                    state = next;
                }
            }
        }
    }

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
