//! How an account is closed, and who may close it how.

use chrono::{DateTime, NaiveDate, Utc};
use thiserror::Error;
use uuid::Uuid;

/// How an account was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Its root.
    pub root_id: Uuid,
    /// The account.
    pub account_id: Uuid,
    /// PREPARING, ENDING, CLOSED, DONE or ABORTING.
    pub state: String,
    /// The way taken.
    pub option: String,
    /// The instant.
    pub close_at: DateTime<Utc>,
    /// From when its data are deleted.
    pub purge_at: DateTime<Utc>,
    /// Who closed it.
    pub actor: String,
    /// The currency of its ledger.
    pub currency: String,
    /// What was settled first, in minor units.
    pub settlement_minor: i64,
    /// What is refunded.
    pub refund_minor: i64,
    /// Credit written off, in millionths.
    pub forfeited_micros: i64,
    /// Until when the refund is paid out.
    pub due_on: Option<NaiveDate>,
    /// The refunds, ids of `payments`.
    pub refund_ids: Vec<String>,
    /// When its data had been deleted; `None` before.
    pub erased_at: Option<DateTime<Utc>>,
}

impl Closing {
    /// Whether a root is closed with its subaccounts.
    pub fn is_of_root(&self) -> bool {
        self.root_id == self.account_id
    }
}

/// What decides whether an account may be closed by whoever asks.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Whether an operator asks.
    pub by_operator: bool,
    /// Whether it is a trial.
    pub trial: bool,
    /// Whether it pays by invoice.
    pub invoiced: bool,
    /// Why it is suspended.
    pub suspensions: &'a [String],
    /// The option stated; empty for none.
    pub option: &'a str,
    /// The acknowledgements given.
    pub acknowledged: &'a [String],
}

/// What the profile says of closing.
#[derive(Debug, Clone, Copy)]
pub struct Policy<'a> {
    /// Whether only operators close an account that pays by invoice.
    pub invoiced_by_operator: bool,
    /// Suspensions during which only operators close it.
    pub blocked: &'a [String],
    /// The options of a full account.
    pub options: &'a [String],
    /// What whoever closes a trial acknowledges.
    pub acknowledgements: &'a [String],
}

/// Why an account is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CloseRefused {
    /// It pays by invoice (REQ-040).
    #[error("an account that pays by invoice is closed by its account manager")]
    ContactAccountManager,
    /// It is suspended for a reason that only operators lift (C-11).
    #[error("a suspended account is closed by support")]
    ContactSupport,
    /// The choice must be stated outright (REQ-058).
    #[error("state how to close it: {}", .0.join(" or "))]
    OptionRequired(Vec<String>),
    /// Every box must be ticked (REQ-060).
    #[error("not acknowledged: {}", .0.join(", "))]
    AcknowledgementMissing(Vec<String>),
}

/// The close of a trial.
pub const CLOSE: &str = "CLOSE";
/// The close of a full account.
pub const DELETE_ALL: &str = "DELETE_ALL_DATA_AND_SETTINGS";
/// The soft close.
pub const KEEP_DATA: &str = "KEEP_ACCOUNT_DATA";

/// The way that an account is closed.
///
/// # Errors
/// What is missing, or whom to ask.
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
