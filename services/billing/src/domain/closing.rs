//! Closings of accounts.

words! {
    /// State of the closing of an account.
    State {
        /// Its balance is frozen, and its figures are shown; it can be aborted.
        Prepared = "PREPARED",
        /// The last invoice is issued, and what is left is refunded or forfeited.
        Settled = "SETTLED",
        /// It was given up before it was settled; the account goes on.
        Aborted = "ABORTED",
    }
}

/// What happens to a closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It is prepared, perhaps anew for another time.
    Prepared,
    /// It is settled.
    Settled,
    /// It is aborted.
    Aborted,
}

/// The state of a closing after an event; `None` if the event changes nothing. What is settled stays so, and only what
/// is prepared is settled.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Prepared | State::Aborted, Event::Prepared) => Some(State::Prepared),
        (State::Prepared | State::Aborted, Event::Aborted) => Some(State::Aborted),
        (State::Prepared, Event::Settled) => Some(State::Settled),
        (State::Aborted, Event::Settled) | (State::Settled, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const EVENTS: &[Event] = &[Event::Prepared, Event::Settled, Event::Aborted];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Aborted, Prepared, Settled};
        for (state, expected) in [
            (Prepared, [Some(Prepared), Some(Settled), Some(Aborted)]),
            (Aborted, [Some(Prepared), None, Some(Aborted)]),
            (Settled, [None; 3]),
        ] {
            for (event, expected) in EVENTS.iter().zip(expected) {
                assert_eq!(after(state, *event), expected, "{state:?} {event:?}");
            }
        }
    }

    proptest! {
        /// Whatever the order of events, what is settled stays so and was prepared before.
        #[test]
        fn a_settled_closing_stays(events in proptest::collection::vec(select(EVENTS), 0..12)) {
            let mut state = State::Aborted;
            for event in events {
                if let Some(next) = after(state, event) {
                    prop_assert!(state != State::Settled);
                    prop_assert!(next != State::Settled || state == State::Prepared);
                    state = next;
                }
            }
        }
    }
}
