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
}
