//! What may become of a KYC submission.

use thiserror::Error;

/// Where a submission stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KycState {
    /// Waits for a reviewer.
    Pending,
    /// A reviewer has it.
    InReview,
    /// Approved.
    Approved,
    /// Rejected.
    Rejected,
    /// Waits for what the reviewer asked for.
    AdditionalInfoRequired,
    /// Was approved, and is so no more.
    Withdrawn,
}

/// What a reviewer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Review {
    /// Takes it up.
    TakeUp,
    /// Approves it.
    Approve,
    /// Rejects it.
    Reject,
    /// Asks for more.
    AskInformation,
}

/// Why a submission does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KycRefused {
    /// A reviewer has it, or will.
    #[error("the submission is under review")]
    UnderReview,
    /// It is approved.
    #[error("the account's KYC is approved")]
    Approved,
    /// It does not wait for a reviewer.
    #[error("the submission is not pending")]
    NotPending,
    /// No reviewer has it.
    #[error("the submission is not in review")]
    NotInReview,
    /// There is no approval to withdraw.
    #[error("the account's KYC is not approved")]
    NotApproved,
}

impl KycState {
    /// Its name in the column and in history.
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

    /// The state of that name.
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

    /// Whether documents may be submitted where the last submission stands here; then whether it is the
    /// same one that goes on, with what was asked for.
    ///
    /// # Errors
    /// `UnderReview`, `Approved`.
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
    /// `NotPending` to take up, `NotInReview` to decide.
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
    /// `NotApproved`.
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
