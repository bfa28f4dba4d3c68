//! Closing an account: its states, options and who may do it.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use thiserror::Error;
use uuid::Uuid;

/// The closing of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Root account.
    pub root_id: Uuid,
    /// Account that is closed; for a root account its subaccounts close too.
    pub account_id: Uuid,
    /// `PREPARING`, `ENDING`, `CLOSED`, `DONE` or `ABORTING`.
    pub state: String,
    /// The close option chosen.
    pub option: String,
    /// When the account closes.
    pub close_at: DateTime<Utc>,
    /// From when its data is deleted.
    pub purge_at: DateTime<Utc>,
    /// Who closed it.
    pub actor: String,
    /// ISO 4217 code of the ledger's currency.
    pub currency: String,
    /// Amount settled before the refund, in minor units.
    pub settlement_minor: i64,
    /// Amount refunded, in minor units.
    pub refund_minor: i64,
    /// Credit forfeited and written off, in millionths of the currency unit.
    pub forfeited_micros: i64,
    /// Date by which the refund is paid out.
    pub due_on: Option<NaiveDate>,
    /// Refund ids of `payments`.
    pub refund_ids: Vec<String>,
    /// When its data had been deleted; `None` before.
    pub erased_at: Option<DateTime<Utc>>,
    /// Error reason that blocks the closing at present; empty while it progresses.
    pub wait_reason: String,
}

impl Closing {
    /// Whether a root account is closed, with its subaccounts.
    pub fn is_of_root(&self) -> bool {
        self.root_id == self.account_id
    }
}

/// When the data of an account that closes at `close_at` is deleted: `days` × 24 hours later (REQ-047, D18).
pub fn purge_at(close_at: DateTime<Utc>, days: i32) -> DateTime<Utc> {
    close_at + TimeDelta::days(i64::from(days))
}

/// The facts that decide whether an account may be closed.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whether an operator asks.
    pub by_operator: bool,
    /// Whether the account is a trial.
    pub trial: bool,
    /// Whether the account pays by invoice.
    pub invoiced: bool,
    /// Reasons of its suspension.
    pub suspensions: &'a [String],
    /// Close option chosen; empty for none.
    pub option: &'a str,
    /// Acknowledgement codes given.
    pub acknowledged: &'a [String],
}

/// The profile's rules for closing.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Whether only operators may close an account that pays by invoice.
    pub invoiced_by_operator: bool,
    /// Suspension reasons under which only operators may close the account.
    pub blocked: &'a [String],
    /// Close options of a full account.
    pub options: &'a [String],
    /// Acknowledgements required to close a trial.
    pub acknowledgements: &'a [String],
}

/// Why a closing is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseRefused {
    /// The account pays by invoice (REQ-040).
    #[error("the account pays by invoice and is closed by its account manager; contact them")]
    ContactAccountManager,
    /// The account is suspended for a reason under which only operators may close it (C-11).
    #[error("only support can close a suspended account; contact support")]
    ContactSupport,
    /// A close option must be stated explicitly (REQ-058).
    #[error("state a close option: {}", .0.join(" or "))]
    OptionRequired(Vec<String>),
    /// Every acknowledgement is required (REQ-060).
    #[error("acknowledgements are missing: {}", .0.join(", "))]
    AcknowledgementMissing(Vec<String>),
}

/// Option that closes a trial.
pub const CLOSE: &str = "CLOSE";
/// Option that closes a full account and deletes its data.
pub const DELETE_ALL: &str = "DELETE_ALL_DATA_AND_SETTINGS";
/// Option that makes a full account dormant and keeps its data.
pub const KEEP_DATA: &str = "KEEP_ACCOUNT_DATA";

/// The close option that applies to this request.
///
/// # Errors
/// What is missing, or whom the customer must contact.
pub fn way<'a>(asked: &Asked<'a>, policy: &Policy<'_>) -> Result<&'a str, CloseRefused> {
    if !asked.by_operator {
        if asked.invoiced && policy.invoiced_by_operator {
            return Err(CloseRefused::ContactAccountManager);
        }
        let mut reasons = asked.suspensions.iter();
        if reasons.any(|reason| policy.blocked.contains(reason)) {
            return Err(CloseRefused::ContactSupport);
        }
    }
    if !asked.trial {
        let known = policy.options.iter().any(|it| it == asked.option);
        return if known {
            Ok(asked.option)
        } else {
            Err(CloseRefused::OptionRequired(policy.options.to_vec()))
        };
    }
    if !matches!(asked.option, "" | CLOSE) {
        return Err(CloseRefused::OptionRequired(vec![CLOSE.to_owned()]));
    }
    let missing = policy.acknowledgements.iter();
    let missing: Vec<String> = missing
        .filter(|it| !asked.acknowledged.contains(it))
        .cloned()
        .collect();
    if missing.is_empty() {
        Ok(CLOSE)
    } else {
        Err(CloseRefused::AcknowledgementMissing(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_040_req_058_req_060_who_closes_what_and_how() {
        let words =
            |words: &[&str]| -> Vec<String> { words.iter().map(|it| (*it).to_owned()).collect() };
        let (blocked, options) = (words(&["FRAUD"]), words(&[DELETE_ALL, KEEP_DATA]));
        let boxes = words(&["SERVICES_STOP", "NO_REFUND"]);
        let policy = Policy {
            invoiced_by_operator: true,
            blocked: &blocked,
            options: &options,
            acknowledgements: &boxes,
        };
        let full = Asked {
            by_operator: false,
            trial: false,
            invoiced: false,
            suspensions: &[],
            option: DELETE_ALL,
            acknowledged: &[],
        };
        assert_eq!(way(&full, &policy), Ok(DELETE_ALL));
        assert_eq!(
            way(&Asked { option: "", ..full }, &policy),
            Err(CloseRefused::OptionRequired(options.clone()))
        );
        let invoiced = Asked {
            invoiced: true,
            ..full
        };
        assert_eq!(
            way(&invoiced, &policy),
            Err(CloseRefused::ContactAccountManager)
        );
        let by_sales = Asked {
            by_operator: true,
            ..invoiced
        };
        assert_eq!(way(&by_sales, &policy), Ok(DELETE_ALL));
        let suspended = Asked {
            suspensions: &blocked,
            ..full
        };
        assert_eq!(way(&suspended, &policy), Err(CloseRefused::ContactSupport));
        let given = words(&["SERVICES_STOP"]);
        let trial = Asked {
            trial: true,
            option: "",
            acknowledged: &given,
            ..full
        };
        assert_eq!(
            way(&trial, &policy),
            Err(CloseRefused::AcknowledgementMissing(words(&["NO_REFUND"])))
        );
        assert_eq!(
            way(
                &Asked {
                    acknowledged: &boxes,
                    ..trial
                },
                &policy
            ),
            Ok(CLOSE)
        );
    }
}
