//! What an account is.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// An account or subaccount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its root; itself for a root account.
    pub root_id: Uuid,
    /// Its id.
    pub account_id: Uuid,
    /// Its parent; `None` for a root account.
    pub parent_id: Option<Uuid>,
    /// Its profile.
    pub profile_code: String,
    /// Its name.
    pub display_name: String,
    /// Who owns it.
    pub owner_id: Uuid,
    /// TRIAL or FULL.
    pub r#type: String,
    /// Whether it pays by invoice.
    pub invoiced: bool,
    /// The currency of its ledger.
    pub currency: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When the other services had opened it too.
    pub opened_at: Option<DateTime<Utc>>,
    /// When its trial ends or ended.
    pub trial_end_at: Option<DateTime<Utc>>,
    /// When it was upgraded.
    pub upgraded_at: Option<DateTime<Utc>>,
    /// From when it is limited, also to come.
    pub limited_at: Option<DateTime<Utc>>,
    /// Why, such as `TRIAL_EXPIRED`; empty without.
    pub limit_reason: String,
    /// Where its KYC stands.
    pub kyc_state: String,
    /// Since when it is dormant.
    pub dormant_at: Option<DateTime<Utc>>,
    /// Why it is suspended; none while it is not.
    pub suspensions: Vec<String>,
    /// When it was closed for ever.
    pub closed_at: Option<DateTime<Utc>>,
    /// Since when it is live.
    pub live_at: Option<DateTime<Utc>>,
}

/// How much of an account works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All its plan allows.
    Normal,
    /// Softly closed.
    Dormant,
    /// Without a paid plan.
    Limited,
}

impl Mode {
    /// Its name in history.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::Dormant => "DORMANT",
            Self::Limited => "LIMITED",
        }
    }
}

impl Account {
    /// How much of it works at `now`: a limit is dated, and nobody has to switch it on.
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

    /// Its status' name in history.
    pub fn status(&self) -> &'static str {
        if self.closed_at.is_some() {
            "CLOSED"
        } else if self.suspensions.is_empty() {
            "ACTIVE"
        } else {
            "SUSPENDED"
        }
    }

    /// Whether `other` was made by the same words.
    pub fn is_made_as(&self, other: &Self) -> bool {
        let made = |it: &Self| {
            let who = (it.root_id, it.account_id, it.parent_id, it.owner_id);
            let what = (it.r#type.clone(), it.invoiced, it.currency.clone());
            (who, what, it.profile_code.clone(), it.display_name.clone())
        };
        made(self) == made(other)
    }
}
