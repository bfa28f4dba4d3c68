//! The states of a dispute, and how the provider's book changes them.

/// State of a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The payer's bank asks about the charge. It may become a dispute.
    Inquiry,
    /// The payer disputes the charge. The provider usually withholds the money until the bank decides.
    Open,
    /// Decided for us.
    Won,
    /// Decided for the payer.
    Lost,
    /// Closed without a decision: an inquiry that became no dispute, or a dispute that was given up.
    Withdrawn,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Inquiry,
        Self::Open,
        Self::Won,
        Self::Lost,
        Self::Withdrawn,
    ];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inquiry => "INQUIRY",
            Self::Open => "OPEN",
            Self::Won => "WON",
            Self::Lost => "LOST",
            Self::Withdrawn => "WITHDRAWN",
        }
    }
}

/// The new state of a dispute in `state` of which the provider's book says `said`; `None` if the state stays.
///
/// - No state is terminal. A bank can decide anew, also against us after a closed or won dispute; if its word were
///   ignored, we would count on money that is gone.
/// - A dispute never becomes an inquiry again: inquiries precede disputes.
pub const fn after(state: State, said: State) -> Option<State> {
    match (state, said) {
        (_, State::Inquiry)
        | (State::Open, State::Open)
        | (State::Won, State::Won)
        | (State::Lost, State::Lost)
        | (State::Withdrawn, State::Withdrawn) => None,
        (
            State::Inquiry | State::Open | State::Won | State::Lost | State::Withdrawn,
            State::Open | State::Won | State::Lost | State::Withdrawn,
        ) => Some(said),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_book_makes_of_each_state() {
        use State::{Inquiry, Lost, Open, Withdrawn, Won};
        let (open, won, lost, withdrawn) = (Some(Open), Some(Won), Some(Lost), Some(Withdrawn));
        let cases = [
            (Inquiry, [None, open, won, lost, withdrawn]),
            (Open, [None, None, won, lost, withdrawn]),
            (Won, [None, open, None, lost, withdrawn]),
            (Lost, [None, open, won, None, withdrawn]),
            (Withdrawn, [None, open, won, lost, None]),
        ];
        for (state, expected) in cases {
            for (said, expected) in State::ALL.into_iter().zip(expected) {
                assert_eq!(after(state, said), expected, "{state:?} {said:?}");
            }
        }
    }

    proptest! {
        /// Whatever the book says in whatever order, a dispute is what the book said last, apart from inquiries, which
        /// change nothing.
        #[test]
        fn the_last_word_of_the_book_counts(
            said in proptest::collection::vec(proptest::sample::select(State::ALL.to_vec()), 0..12)
        ) {
            let mut state = State::Inquiry;
            for word in said.iter().copied() {
                state = after(state, word).unwrap_or(state);
            }
            let mut words = said.into_iter().filter(|word| *word != State::Inquiry);
            prop_assert_eq!(state, words.next_back().unwrap_or(State::Inquiry));
        }
    }
}
