//! The states of a KYC submission.

use thiserror::Error;

/// State of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KycState {
    /// Waits for a reviewer.
    Pending,
    /// A reviewer is working on it.
    InReview,
    /// Approved.
    Approved,
    /// Rejected.
    Rejected,
    /// Waits for information that the reviewer asked for.
    AdditionalInfoRequired,
    /// The approval was withdrawn.
    Withdrawn,
}

/// A reviewer's action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Starts the review.
    TakeUp,
    /// Approves the submission.
    Approve,
    /// Rejects the submission.
    Reject,
    /// Asks for more information.
    AskInformation,
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

impl KycState {
    /// Name in the database and in the account history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::InReview => "IN_REVIEW",
            Self::Approved => "APPROVED",
            Self::Rejected => "REJECTED",
            Self::AdditionalInfoRequired => "ADDITIONAL_INFO_REQUIRED",
            Self::Withdrawn => "WITHDRAWN",
        }
    }

    /// The state with this name.
    pub fn parse(name: &str) -> Option<Self> {
        let all = [
            Self::Pending,
            Self::InReview,
            Self::Approved,
            Self::Rejected,
            Self::AdditionalInfoRequired,
            Self::Withdrawn,
        ];
        all.into_iter().find(|state| state.name() == name)
    }

    /// Whether documents may be submitted when the last submission is in this state. `true` means that the same
    /// submission continues with the information asked for; `false` that a new one begins.
    ///
    /// # Errors
    /// `UnderReview` while a review is pending; `Approved` once it has succeeded.
    pub const fn resubmitted(self) -> Result<bool, KycRefused> {
        match self {
            Self::Pending | Self::InReview => Err(KycRefused::UnderReview),
            Self::Approved => Err(KycRefused::Approved),
            Self::AdditionalInfoRequired => Ok(true),
            Self::Rejected | Self::Withdrawn => Ok(false),
        }
    }

    /// The state after a review.
    ///
    /// # Errors
    /// `NotPending` if a review can't start; `NotInReview` if none has started.
    pub fn reviewed(self, review: Review) -> Result<Self, KycRefused> {
        match (self, review) {
            (Self::Pending, Review::TakeUp) => Ok(Self::InReview),
            (_, Review::TakeUp) => Err(KycRefused::NotPending),
            (Self::InReview, Review::Approve) => Ok(Self::Approved),
            (Self::InReview, Review::Reject) => Ok(Self::Rejected),
            (Self::InReview, Review::AskInformation) => Ok(Self::AdditionalInfoRequired),
            (_, Review::Approve | Review::Reject | Review::AskInformation) => {
                Err(KycRefused::NotInReview)
            }
        }
    }

    /// The state after an approval is withdrawn.
    ///
    /// # Errors
    /// `NotApproved` in any other state.
    pub fn withdrawn(self) -> Result<Self, KycRefused> {
        if self == Self::Approved {
            Ok(Self::Withdrawn)
        } else {
            Err(KycRefused::NotApproved)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submission_is_taken_up_before_it_is_decided() {
        let taken = KycState::Pending.reviewed(Review::TakeUp).unwrap();
        assert_eq!(taken.reviewed(Review::Approve), Ok(KycState::Approved));
        assert_eq!(
            KycState::Pending.reviewed(Review::Approve),
            Err(KycRefused::NotInReview)
        );
        assert_eq!(taken.reviewed(Review::TakeUp), Err(KycRefused::NotPending));
        assert_eq!(KycState::Approved.withdrawn(), Ok(KycState::Withdrawn));
        assert_eq!(taken.withdrawn(), Err(KycRefused::NotApproved));
        assert_eq!(KycState::Withdrawn.resubmitted(), Ok(false));
        assert_eq!(KycState::AdditionalInfoRequired.resubmitted(), Ok(true));
        assert_eq!(taken.resubmitted(), Err(KycRefused::UnderReview));
    }
}
