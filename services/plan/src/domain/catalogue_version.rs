//! The states of a catalogue version, and how activations change them.

/// State of a catalogue version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Checked and stored; never activated.
    Imported,
    /// In force for new purchases and changes. At most one version is active.
    Active,
    /// Replaced by another version. What was bought under it keeps its terms.
    Retired,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Imported, Self::Active, Self::Retired];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Imported => "IMPORTED",
            Self::Active => "ACTIVE",
            Self::Retired => "RETIRED",
        }
    }
}

/// What happens to a catalogue version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// An operator activates it.
    Activated,
    /// An operator activates another version.
    Replaced,
}

/// The state of a version in `state` after `event`; `None` if it stays. No state is terminal: a retired version can be
/// activated again, which undoes the activation of its successor.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Imported | State::Retired, Event::Activated) => Some(State::Active),
        (State::Active, Event::Replaced) => Some(State::Retired),
        (State::Active, Event::Activated) | (State::Imported | State::Retired, Event::Replaced) => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Active, Imported, Retired};
        for (state, activated, replaced) in [
            (Imported, Some(Active), None),
            (Active, None, Some(Retired)),
            (Retired, Some(Active), None),
        ] {
            assert_eq!(after(state, Event::Activated), activated, "{state:?}");
            assert_eq!(after(state, Event::Replaced), replaced, "{state:?}");
        }
    }

    proptest! {
        /// Whatever is activated in whatever order, the version that was activated last is the only active one, and a
        /// version that was active is never merely imported again.
        #[test]
        fn the_version_activated_last_is_the_only_active_one(
            activations in proptest::collection::vec(0..4_usize, 1..12)
        ) {
            let mut states = [State::Imported; 4];
            for activated in &activations {
                for (version, state) in states.iter_mut().enumerate() {
                    let event = if version == *activated {
                        Event::Activated
                    } else {
                        Event::Replaced
                    };
                    *state = after(*state, event).unwrap_or(*state);
                }
            }
            for (version, state) in states.into_iter().enumerate() {
                let expected = if activations.last() == Some(&version) {
                    State::Active
                } else if activations.contains(&version) {
                    State::Retired
                } else {
                    State::Imported
                };
                prop_assert_eq!(state, expected);
            }
        }
    }
}
