//! Accounts and subaccounts.

use std::fmt;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::kyc::KycState;

/// An account or subaccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Root account; equal to `account_id` for a root account.
    pub root_id: Uuid,
    /// Account id.
    pub account_id: Uuid,
    /// Parent account; `None` for a root account.
    pub parent_id: Option<Uuid>,
    /// Profile code.
    pub profile_code: String,
    /// Name given by the customer.
    pub display_name: String,
    /// User who owns the account.
    pub owner_id: Uuid,
    /// Type.
    pub r#type: AccountType,
    /// Whether the account pays by invoice; otherwise it is prepaid.
    pub invoiced: bool,
    /// ISO 4217 code of the ledger's currency.
    pub currency: String,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// When the other services had opened the account too; `None` until then.
    pub opened_at: Option<DateTime<Utc>>,
    /// End of the trial, past or future; `None` if it never was a trial.
    pub trial_end_at: Option<DateTime<Utc>>,
    /// When the trial became a full account.
    pub upgraded_at: Option<DateTime<Utc>>,
    /// From when the account is limited. May lie in the future.
    pub limited_at: Option<DateTime<Utc>>,
    /// Reason of the limit.
    pub limit_reason: LimitReason,
    /// State of the account's KYC.
    pub kyc_state: KycState,
    /// Since when the account is dormant; `None` while it is not.
    pub dormant_at: Option<DateTime<Utc>>,
    /// Reasons of its suspension; empty while it is active.
    pub suspensions: Vec<Suspension>,
    /// When the account was permanently closed.
    pub closed_at: Option<DateTime<Utc>>,
    /// When the account went live.
    pub live_at: Option<DateTime<Utc>>,
}

/// The standings of an account at one revision. Database triggers maintain the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stands {
    /// The account.
    pub account_id: Uuid,
    /// Every standing that applies, such as `CLOSED` or `DORMANT`.
    pub standings: Vec<String>,
    /// From when the account has no paid plan. May lie in the future.
    pub limited_at: Option<DateTime<Utc>>,
    /// Revision of the standings; grows with each change.
    pub standing_revision: i64,
}

/// Formats the account id, which is the key under which jobs claim the row.
impl fmt::Display for Stands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account_id.fmt(f)
    }
}

named! {
    /// Type of an account.
    AccountType {
        /// Has bought nothing yet.
        Trial = "TRIAL",
        /// Has bought something.
        Full = "FULL",
    }
}

named! {
    /// Why an account is limited, or will be.
    LimitReason {
        /// It is not, and no limit is to come.
        NotLimited = "",
        /// Its trial ends.
        TrialExpired = "TRIAL_EXPIRED",
        /// Its owner cancelled the subscription.
        Cancelled = "CANCELLED",
        /// The renewal of its subscription was not paid.
        RenewalFailed = "RENEWAL_FAILED",
    }
}

named! {
    /// Why an account is suspended.
    Suspension {
        /// Its balance is used up.
        Balance = "BALANCE",
        /// Suspected fraud.
        Fraud = "FRAUD",
        /// The owner of the root account suspended the subaccount.
        Parent = "PARENT",
        /// The terms of service are violated.
        Terms = "TERMS",
    }
}

named! {
    /// How much of an account is usable.
    Mode {
        /// Everything that its plan includes.
        Normal = "NORMAL",
        /// Softly closed: its data is kept.
        Dormant = "DORMANT",
        /// Without a paid plan.
        Limited = "LIMITED",
    }
}

named! {
    /// Whether an account may be used at all.
    Status {
        /// It may.
        Active = "ACTIVE",
        /// Not while a reason for its suspension is left.
        Suspended = "SUSPENDED",
        /// Permanently closed.
        Closed = "CLOSED",
    }
}

impl Account {
    /// The account's mode at `now`. A limit takes effect at its instant; no job has to switch it on.
    pub fn mode(&self, now: DateTime<Utc>) -> Mode {
        let begun = |from: Option<DateTime<Utc>>| from.is_some_and(|from| from <= now);
        if begun(self.dormant_at) {
            Mode::Dormant
        } else if begun(self.limited_at) {
            Mode::Limited
        } else {
            Mode::Normal
        }
    }

    /// The account's status.
    pub const fn status(&self) -> Status {
        if self.closed_at.is_some() {
            Status::Closed
        } else if self.suspensions.is_empty() {
            Status::Active
        } else {
            Status::Suspended
        }
    }

    /// Whether both accounts were created with the same attributes; states and times are ignored.
    pub fn is_made_as(&self, other: &Self) -> bool {
        let made = |it: &Self| {
            let who = (it.root_id, it.account_id, it.parent_id, it.owner_id);
            let what = (it.r#type, it.invoiced, it.currency.clone());
            (who, what, it.profile_code.clone(), it.display_name.clone())
        };
        made(self) == made(other)
    }
}
