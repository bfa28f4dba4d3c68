//! The states of a webhook event, and how its processing changes them.

/// State of a webhook event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Stored; not processed yet.
    Received,
    /// The movement or dispute concerned is up to date.
    Processed,
    /// It concerns nothing of ours.
    Ignored,
    /// The provider's book could not be read. It is processed again later.
    Failed,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Received, Self::Processed, Self::Ignored, Self::Failed];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Received => "RECEIVED",
            Self::Processed => "PROCESSED",
            Self::Ignored => "IGNORED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether this state is terminal, unless an operator replays the event.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Processed | Self::Ignored)
    }
}

/// Why an event is `Ignored` or `Failed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It belongs to another system that shares the provider account.
    NotOurs,
    /// The provider's book could not be read.
    LookUpFailed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 2] = [Self::NotOurs, Self::LookUpFailed];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotOurs => "NOT_OURS",
            Self::LookUpFailed => "LOOK_UP_FAILED",
        }
    }
}

/// Who processes an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// The job, which processes what is due.
    Job,
    /// An operator, who replays the event whatever its state.
    Replay,
}

/// What processing an event came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The movement or dispute concerned was looked up.
    LookedUp,
    /// It concerns nothing of ours.
    NotOurs,
    /// The provider's book could not be read.
    Unread,
}

/// The effect of an outcome on an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// New state.
    pub state: State,
    /// Reason of `Ignored` or `Failed`; `None` otherwise.
    pub reason: Option<Reason>,
}

/// The change that `outcome` of a `run` causes to an event in `state`; `None` if it changes nothing.
///
/// A slow worker must not undo what another has come to meanwhile, so the job changes no terminal state. A replay
/// does, as an operator asks for it.
pub const fn after(state: State, run: Run, outcome: Outcome) -> Option<Change> {
    if state.is_final() && matches!(run, Run::Job) {
        return None;
    }
    let (state, reason) = match outcome {
        Outcome::LookedUp => (State::Processed, None),
        Outcome::NotOurs => (State::Ignored, Some(Reason::NotOurs)),
        Outcome::Unread => (State::Failed, Some(Reason::LookUpFailed)),
    };
    Some(Change { state, reason })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUTCOMES: [Outcome; 3] = [Outcome::LookedUp, Outcome::NotOurs, Outcome::Unread];

    #[test]
    fn what_each_outcome_makes_of_each_state() {
        use State::{Failed, Ignored, Processed, Received};
        let results = [
            (Processed, None),
            (Ignored, Some(Reason::NotOurs)),
            (Failed, Some(Reason::LookUpFailed)),
        ];
        for (outcome, (state, reason)) in OUTCOMES.into_iter().zip(results) {
            let change = Some(Change { state, reason });
            for open in [Received, Failed] {
                assert_eq!(after(open, Run::Job, outcome), change, "{open:?}");
            }
            for decided in [Processed, Ignored] {
                assert_eq!(after(decided, Run::Job, outcome), None, "{decided:?}");
            }
            for any in State::ALL {
                assert_eq!(after(any, Run::Replay, outcome), change, "{any:?}");
            }
        }
    }

    proptest! {
        /// Whatever the job comes to in whatever order, a terminal state stays, and a state has a reason if it is
        /// `Ignored` or `Failed`.
        #[test]
        fn the_job_changes_no_terminal_state(
            outcomes in proptest::collection::vec(proptest::sample::select(OUTCOMES.to_vec()), 0..12)
        ) {
            let mut state = State::Received;
            for outcome in outcomes {
                let before = state;
                if let Some(change) = after(state, Run::Job, outcome) {
                    prop_assert!(!before.is_final());
                    prop_assert_eq!(change.reason.is_none(), change.state == State::Processed);
                    state = change.state;
                }
            }
        }
    }
}
