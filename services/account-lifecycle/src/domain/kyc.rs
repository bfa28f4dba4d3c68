//! The states of an account's KYC.

use thiserror::Error;

named! {
    /// State of a submission, and of the KYC of an account, which is that of its last submission.
    KycState {
        /// The account has made no submission.
        NotSubmitted = "NOT_SUBMITTED",
        /// Waits for a reviewer.
        Pending = "PENDING",
        /// A reviewer is working on it.
        InReview = "IN_REVIEW",
        /// Approved.
        Approved = "APPROVED",
        /// Rejected.
        Rejected = "REJECTED",
        /// Waits for information that the reviewer asked for.
        AdditionalInfoRequired = "ADDITIONAL_INFO_REQUIRED",
        /// The approval was withdrawn.
        Withdrawn = "WITHDRAWN",
    }
}

named! {
    /// What happens to a submission. The names are those of the account history.
    KycEvent {
        /// The customer submits documents.
        Submitted = "SUBMITTED",
        /// A reviewer starts the review.
        TakenUp = "TAKEN_UP",
        /// The reviewer approves.
        Approved = "APPROVED",
        /// The reviewer rejects.
        Rejected = "REJECTED",
        /// The reviewer asks for more information.
        InformationAsked = "INFORMATION_ASKED",
        /// The approval is withdrawn.
        Withdrawn = "WITHDRAWN",
    }
}

/// Why a submission does not change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KycRefused {
    /// The submission waits for a reviewer or is being reviewed.
    #[error("the submission is under review; wait for the decision")]
    UnderReview,
    /// The account's KYC is already approved.
    #[error("the account's KYC is already approved")]
    Approved,
    /// The submission does not wait for a reviewer.
    #[error("the submission is not pending")]
    NotPending,
    /// No reviewer has taken up the submission.
    #[error("the submission is not in review; take it up first")]
    NotInReview,
    /// There is no approval to withdraw.
    #[error("the account's KYC is not approved")]
    NotApproved,
}

/// The state of a submission after an event; `None` if the event can't happen in this state.
pub fn after(state: KycState, event: KycEvent) -> Option<KycState> {
    let in_review = state == KycState::InReview;
    match event {
        KycEvent::Submitted => match state {
            KycState::NotSubmitted
            | KycState::Rejected
            | KycState::AdditionalInfoRequired
            | KycState::Withdrawn => Some(KycState::Pending),
            KycState::Pending | KycState::InReview | KycState::Approved => None,
        },
        KycEvent::TakenUp => (state == KycState::Pending).then_some(KycState::InReview),
        KycEvent::Approved => in_review.then_some(KycState::Approved),
        KycEvent::Rejected => in_review.then_some(KycState::Rejected),
        KycEvent::InformationAsked => in_review.then_some(KycState::AdditionalInfoRequired),
        KycEvent::Withdrawn => (state == KycState::Approved).then_some(KycState::Withdrawn),
    }
}

impl KycState {
    /// The state after an event.
    ///
    /// # Errors
    /// Why the event can't happen in this state.
    pub fn moved(self, event: KycEvent) -> Result<Self, KycRefused> {
        after(self, event).ok_or(match event {
            KycEvent::Submitted if self == Self::Approved => KycRefused::Approved,
            KycEvent::Submitted => KycRefused::UnderReview,
            KycEvent::TakenUp => KycRefused::NotPending,
            KycEvent::Approved | KycEvent::Rejected | KycEvent::InformationAsked => {
                KycRefused::NotInReview
            }
            KycEvent::Withdrawn => KycRefused::NotApproved,
        })
    }

    /// Whether a resubmission continues the same submission; otherwise a new one begins.
    pub const fn continues(self) -> bool {
        matches!(self, Self::AdditionalInfoRequired)
    }

    /// Whether the submission waits for a decision.
    pub const fn is_undecided(self) -> bool {
        matches!(self, Self::Pending | Self::InReview)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_each_event_makes_of_each_state() {
        use KycState::{
            AdditionalInfoRequired, Approved, InReview, NotSubmitted, Pending, Rejected, Withdrawn,
        };
        let submitted = [Some(Pending), None, None, None, None, None];
        let decided = [
            None,
            None,
            Some(Approved),
            Some(Rejected),
            Some(AdditionalInfoRequired),
            None,
        ];
        let cases = [
            (NotSubmitted, submitted),
            (Pending, [None, Some(InReview), None, None, None, None]),
            (InReview, decided),
            (Approved, [None, None, None, None, None, Some(Withdrawn)]),
            (Rejected, submitted),
            (AdditionalInfoRequired, submitted),
            (Withdrawn, submitted),
        ];
        assert_eq!(cases.map(|(state, _)| state), KycState::ALL);
        for (state, expected) in cases {
            let events = KycEvent::ALL.iter().copied();
            let found: Vec<_> = events.map(|event| after(state, event)).collect();
            assert_eq!(found, expected, "{state:?}");
        }
    }

    #[test]
    fn a_submission_is_taken_up_before_it_is_decided() {
        let taken = KycState::Pending.moved(KycEvent::TakenUp).unwrap();
        assert_eq!(taken.moved(KycEvent::Approved), Ok(KycState::Approved));
        for (state, event, refused) in [
            (
                KycState::Pending,
                KycEvent::Approved,
                KycRefused::NotInReview,
            ),
            (taken, KycEvent::TakenUp, KycRefused::NotPending),
            (taken, KycEvent::Withdrawn, KycRefused::NotApproved),
            (taken, KycEvent::Submitted, KycRefused::UnderReview),
            (
                KycState::Approved,
                KycEvent::Submitted,
                KycRefused::Approved,
            ),
        ] {
            assert_eq!(state.moved(event), Err(refused), "{state:?} {event:?}");
        }
        assert!(KycState::AdditionalInfoRequired.continues());
        assert!(!KycState::Withdrawn.continues());
    }

    #[test]
    fn each_name_is_of_one_variant() {
        for state in KycState::ALL.iter().copied() {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for event in KycEvent::ALL.iter().copied() {
            assert_eq!(event.as_str().parse(), Ok(event));
        }
    }

    proptest! {
        /// Whatever the order of events, only what a reviewer has taken up since it was submitted is approved, and an
        /// approval stays until it is withdrawn.
        #[test]
        fn an_approval_follows_a_review(events in proptest::collection::vec(0..KycEvent::ALL.len(), 0..16)) {
            let mut state = KycState::NotSubmitted;
            let mut taken_up = false;
            for event in events.into_iter().filter_map(|n| KycEvent::ALL.get(n).copied()) {
                if let Some(next) = after(state, event) {
                    match event {
                        KycEvent::Submitted => taken_up = false,
                        KycEvent::TakenUp => taken_up = true,
                        KycEvent::Approved => prop_assert!(taken_up),
                        KycEvent::Withdrawn => prop_assert_eq!(state, KycState::Approved),
                        KycEvent::Rejected | KycEvent::InformationAsked => {}
                    }
                    prop_assert!(state != KycState::Approved || event == KycEvent::Withdrawn);
                    state = next;
                }
            }
        }
    }
}
