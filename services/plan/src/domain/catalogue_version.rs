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

/// The state of a version in `state` once a version has been activated: this one, or another. No state is terminal: a
/// retired version can be activated again, which undoes the activation of its successor.
pub const fn after_activation(state: State, of_this: bool) -> State {
    match (state, of_this) {
        (_, true) => State::Active,
        (State::Active | State::Retired, false) => State::Retired,
        (State::Imported, false) => State::Imported,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_an_activation_makes_of_each_state() {
        use State::{Active, Imported, Retired};
        for (state, by_its_own, by_another) in [
            (Imported, Active, Imported),
            (Active, Active, Retired),
            (Retired, Active, Retired),
        ] {
            assert_eq!(after_activation(state, true), by_its_own, "{state:?}");
            assert_eq!(after_activation(state, false), by_another, "{state:?}");
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
                    *state = after_activation(*state, version == *activated);
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
