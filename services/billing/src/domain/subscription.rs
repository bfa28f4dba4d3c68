//! Subscriptions: plans that are paid in advance, and how their renewal stands.

words! {
    /// State of the renewal of a plan.
    State {
        /// The running cycle is paid, and the next one is charged at its start.
        Active = "ACTIVE",
        /// The charge of the cycle failed and is tried again, or a person decides.
        PastDue = "PAST_DUE",
        /// The cycle is given up: the plan is being ended.
        Ending = "ENDING",
    }
}

/// What happens to a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A plan is followed from its start on, in place of the one before.
    Followed,
    /// The cycle is paid or invoiced.
    Paid,
    /// The charge of the cycle failed, and is tried again.
    Failed,
    /// The retries stop until a person has looked at them.
    Stopped,
    /// The owner cancels the plan.
    Cancelled,
    /// Nothing more is charged for the cycle.
    GivenUp,
}

/// The state of a subscription after an event; `None` if the event changes nothing.
///
/// Only a cycle that is past due ends with a cancellation: one that is paid runs to its end. A payment that arrives
/// late renews a plan even while it is being ended.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (_, Event::Followed | Event::Paid) => Some(State::Active),
        (_, Event::Failed | Event::Stopped) => Some(State::PastDue),
        (_, Event::GivenUp) | (State::PastDue, Event::Cancelled) => Some(State::Ending),
        (State::Active | State::Ending, Event::Cancelled) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const EVENTS: &[Event] = &[
        Event::Followed,
        Event::Paid,
        Event::Failed,
        Event::Stopped,
        Event::GivenUp,
        Event::Cancelled,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Active, Ending, PastDue};
        for (state, cancelled) in [(Active, None), (PastDue, Some(Ending)), (Ending, None)] {
            let expected = [Active, Active, PastDue, PastDue, Ending]
                .map(Some)
                .into_iter()
                .chain([cancelled]);
            for (event, expected) in EVENTS.iter().zip(expected) {
                assert_eq!(after(state, *event), expected, "{state:?} {event:?}");
            }
        }
    }

    proptest! {
        /// Whatever the order of events, a plan whose cycle is paid doesn't end before a charge of the next one failed or
        /// was given up.
        #[test]
        fn a_paid_cycle_is_not_ended_by_a_cancellation(
            events in proptest::collection::vec(select(EVENTS), 0..16)
        ) {
            let mut state = State::Active;
            for event in events {
                let next = after(state, event).unwrap_or(state);
                if state == State::Active && next == State::Ending {
                    prop_assert_eq!(event, Event::GivenUp);
                }
                state = next;
            }
        }
    }
}
