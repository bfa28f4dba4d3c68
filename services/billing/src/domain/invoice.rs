//! Invoices: their states.

/// State of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Something of it is still to be paid.
    Open,
    /// Nothing is left to pay.
    Paid,
    /// It should not have been issued; its revenue and tax are reversed.
    Void,
    /// It will not be paid; the receivable is written off.
    Uncollectible,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Open, Self::Paid, Self::Void, Self::Uncollectible];

    /// The number that it is stored as.
    pub const fn number(self) -> i16 {
        match self {
            Self::Open => 1,
            Self::Paid => 2,
            Self::Void => 3,
            Self::Uncollectible => 4,
        }
    }
}

/// What happens to an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A payment or a credit note leaves nothing to pay.
    Settled,
    /// A payment or a credit note leaves something to pay.
    Reduced,
    /// It is voided.
    Voided,
    /// It is written off.
    WrittenOff,
}

/// The state of an invoice after an event; `None` if the event is impossible. Only an open invoice is paid, voided or
/// written off; a credit note for a paid one leaves it paid.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Open | State::Paid, Event::Settled) => Some(State::Paid),
        (State::Open, Event::Reduced) => Some(State::Open),
        (State::Open, Event::Voided) => Some(State::Void),
        (State::Open, Event::WrittenOff) => Some(State::Uncollectible),
        (State::Paid, Event::Reduced | Event::Voided | Event::WrittenOff)
        | (State::Void | State::Uncollectible, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const EVENTS: &[Event] = &[
        Event::Settled,
        Event::Reduced,
        Event::Voided,
        Event::WrittenOff,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Open, Paid, Uncollectible, Void};
        let open = [Paid, Open, Void, Uncollectible].map(Some);
        for (state, expected) in [
            (Open, open),
            (Paid, [Some(Paid), None, None, None]),
            (Void, [None; 4]),
            (Uncollectible, [None; 4]),
        ] {
            for (event, expected) in EVENTS.iter().zip(expected) {
                assert_eq!(after(state, *event), expected, "{state:?} {event:?}");
            }
        }
    }

    proptest! {
        /// Whatever the order of events, an invoice leaves the open state once and for all.
        #[test]
        fn an_invoice_ends_once(events in proptest::collection::vec(select(EVENTS), 0..12)) {
            let mut state = State::Open;
            for event in events {
                if let Some(next) = after(state, event) {
                    prop_assert!(state == State::Open || next == state);
                    state = next;
                }
            }
        }
    }
}
