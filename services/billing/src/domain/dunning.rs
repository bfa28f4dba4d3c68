//! Dunning: the steps of collecting an open invoice, and the retry days of failed renewals and unpaid invoices
//! (REQ-127).

use chrono::{Days, NaiveDate};

words! {
    /// How far the dunning of an open invoice has come.
    State {
        /// The invoice is issued, and its owner is not notified yet.
        Issued = "ISSUED",
        /// The owner is notified; the invoice is charged on its due date.
        Told = "TOLD",
        /// The invoice was charged on its due date or later, and is charged again on the reminder days.
        Overdue = "OVERDUE",
    }
}

/// What happens to the dunning of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The owner is notified of the invoice.
    Notified,
    /// The invoice is charged.
    Charged,
}

/// The state of a dunning after an event; `None` if the event changes nothing. An owner is notified once, and before
/// the invoice is charged.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Issued, Event::Notified) => Some(State::Told),
        (State::Told | State::Overdue, Event::Charged) => Some(State::Overdue),
        (State::Issued, Event::Charged) | (State::Told | State::Overdue, Event::Notified) => None,
    }
}

/// The day of the next attempt after `retries` retries, for a cycle that began, or an invoice that was due, on
/// `start`; `None` after the last one.
///
/// `retry_days` are counted from `start`, so that a late attempt does not move the others.
pub fn next_try(start: NaiveDate, retry_days: &[u64], retries: usize) -> Option<NaiveDate> {
    let days = retry_days.get(retries)?;
    start.checked_add_days(Days::new(*days))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Issued, Overdue, Told};
        for (state, notified, charged) in [
            (Issued, Some(Told), None),
            (Told, None, Some(Overdue)),
            (Overdue, None, Some(Overdue)),
        ] {
            assert_eq!(after(state, Event::Notified), notified, "{state:?}");
            assert_eq!(after(state, Event::Charged), charged, "{state:?}");
        }
    }

    proptest! {
        /// Whatever the order of events, an owner is notified once, and nothing is charged before.
        #[test]
        fn an_owner_is_notified_once_and_before_a_charge(
            events in proptest::collection::vec(select(&[Event::Notified, Event::Charged]), 0..8)
        ) {
            let mut state = State::Issued;
            for event in events {
                if let Some(next) = after(state, event) {
                    prop_assert_eq!(state == State::Issued, event == Event::Notified);
                    state = next;
                }
            }
        }
    }

    #[test]
    fn req_127_it_is_tried_again_on_the_policy_s_days_and_then_not() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let next = |retries| next_try(day("2026-05-15"), &[1, 3, 7], retries);
        assert_eq!(next(0), Some(day("2026-05-16")));
        assert_eq!(next(1), Some(day("2026-05-18")));
        assert_eq!(next(2), Some(day("2026-05-22")));
        assert_eq!(next(3), None);
        assert_eq!(next_try(day("2026-05-15"), &[], 0), None);
    }
}
