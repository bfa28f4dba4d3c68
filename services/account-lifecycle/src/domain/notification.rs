//! The states of a notification's delivery.

named! {
    /// State of a notification.
    State {
        /// To be sent, now or at the next attempt.
        Pending = "PENDING",
        /// The mail server has accepted it.
        Sent = "SENT",
        /// Given up. It is pending again only where an operator retries it.
        Failed = "FAILED",
    }
}

/// How an attempt to deliver a notification ends, unless another one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The mail server accepts it.
    Delivered,
    /// The mail server refuses it for good, or has not accepted it for too long.
    GivenUp,
}

/// The state of a notification after an event; `None` if its delivery has ended already.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Pending, Event::Delivered) => Some(State::Sent),
        (State::Pending, Event::GivenUp) => Some(State::Failed),
        (State::Sent | State::Failed, Event::Delivered | Event::GivenUp) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_ends_once() {
        let cases = [
            (State::Pending, [Some(State::Sent), Some(State::Failed)]),
            (State::Sent, [None; 2]),
            (State::Failed, [None; 2]),
        ];
        assert_eq!(cases.map(|(state, _)| state), State::ALL);
        for (state, expected) in cases {
            let found = [Event::Delivered, Event::GivenUp].map(|event| after(state, event));
            assert_eq!(found, expected, "{state:?}");
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
