//! Closing an account: its states, options and who may do it.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use thiserror::Error;
use uuid::Uuid;

use super::account::Suspension;

/// The closing of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Root account.
    pub root_id: Uuid,
    /// Account that is closed; for a root account its subaccounts close too.
    pub account_id: Uuid,
    /// State.
    pub state: State,
    /// The close option chosen.
    pub option: CloseOption,
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

named! {
    /// How an account is closed.
    CloseOption {
        /// Closes a trial.
        Close = "CLOSE",
        /// Closes a full account and deletes its data.
        DeleteAll = "DELETE_ALL_DATA_AND_SETTINGS",
        /// Makes a full account dormant and keeps its data.
        KeepData = "KEEP_ACCOUNT_DATA",
    }
}

named! {
    /// State of a closing.
    State {
        /// Nothing is closed yet; `billing` freezes the balance and computes the settlement.
        Preparing = "PREPARING",
        /// `plan` ends what is in force.
        Ending = "ENDING",
        /// The account and its subaccounts are closed; `billing` has to settle.
        Closed = "CLOSED",
        /// Settled.
        Done = "DONE",
        /// Refused before anything was closed; `billing` lifts the freeze, and the closing is deleted.
        Aborting = "ABORTING",
    }
}

/// What happens to a closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The balance is frozen and the settlement is known.
    Prepared,
    /// The plans have ended.
    PlansEnded,
    /// `billing` has settled.
    Settled,
    /// A service refuses to close, for good or for longer than anybody waits.
    Refused,
}

/// The state of a closing after an event; `None` if the event can't happen in this state. Once the account is closed,
/// nothing gives the closing up.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Preparing, Event::Prepared) => Some(State::Ending),
        (State::Ending, Event::PlansEnded) => Some(State::Closed),
        (State::Closed, Event::Settled) => Some(State::Done),
        (State::Preparing | State::Ending, Event::Refused) => Some(State::Aborting),
        (State::Preparing, Event::PlansEnded | Event::Settled)
        | (State::Ending, Event::Prepared | Event::Settled)
        | (State::Closed, Event::Prepared | Event::PlansEnded | Event::Refused)
        | (
            State::Done | State::Aborting,
            Event::Prepared | Event::PlansEnded | Event::Settled | Event::Refused,
        ) => None,
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
    pub suspensions: &'a [Suspension],
    /// Close option chosen.
    pub option: Option<CloseOption>,
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
    pub options: &'a [CloseOption],
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
    #[error("state a close option: {}", names(.0).join(" or "))]
    OptionRequired(Vec<CloseOption>),
    /// Every acknowledgement is required (REQ-060).
    #[error("acknowledgements are missing: {}", .0.join(", "))]
    AcknowledgementMissing(Vec<String>),
}

/// The names of close options.
pub fn names(options: &[CloseOption]) -> Vec<&'static str> {
    options.iter().map(|it| it.as_str()).collect()
}

/// The close option that applies to this request.
///
/// # Errors
/// What is missing, or whom the customer must contact.
pub fn way(asked: &Asked<'_>, policy: &Policy<'_>) -> Result<CloseOption, CloseRefused> {
    if !asked.by_operator {
        if asked.invoiced && policy.invoiced_by_operator {
            return Err(CloseRefused::ContactAccountManager);
        }
        let mut reasons = asked.suspensions.iter();
        if reasons.any(|it| policy.blocked.iter().any(|code| code == it.as_str())) {
            return Err(CloseRefused::ContactSupport);
        }
    }
    if !asked.trial {
        let known = asked.option.filter(|it| policy.options.contains(it));
        return known.ok_or_else(|| CloseRefused::OptionRequired(policy.options.to_vec()));
    }
    if !matches!(asked.option, None | Some(CloseOption::Close)) {
        return Err(CloseRefused::OptionRequired(vec![CloseOption::Close]));
    }
    let missing = policy.acknowledgements.iter();
    let missing: Vec<String> = missing
        .filter(|it| !asked.acknowledged.contains(it))
        .cloned()
        .collect();
    if missing.is_empty() {
        Ok(CloseOption::Close)
    } else {
        Err(CloseRefused::AcknowledgementMissing(missing))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENTS: [Event; 4] = [
        Event::Prepared,
        Event::PlansEnded,
        Event::Settled,
        Event::Refused,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Aborting, Closed, Done, Ending, Preparing};
        let cases = [
            (Preparing, [Some(Ending), None, None, Some(Aborting)]),
            (Ending, [None, Some(Closed), None, Some(Aborting)]),
            (Closed, [None, None, Some(Done), None]),
            (Done, [None; 4]),
            (Aborting, [None; 4]),
        ];
        assert_eq!(cases.map(|(state, _)| state), State::ALL);
        for (state, expected) in cases {
            assert_eq!(
                EVENTS.map(|event| after(state, event)),
                expected,
                "{state:?}"
            );
        }
    }

    #[test]
    fn each_name_is_of_one_variant() {
        for state in State::ALL.iter().copied() {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for option in CloseOption::ALL.iter().copied() {
            assert_eq!(option.as_str().parse(), Ok(option));
        }
    }

    proptest! {
        /// Whatever the order of events, what is done or given up stays so, and what is closed is never given up.
        #[test]
        fn a_closing_ends_once(events in proptest::collection::vec(0..EVENTS.len(), 0..12)) {
            let mut state = State::Preparing;
            let mut seen = vec![state];
            for event in events.into_iter().filter_map(|n| EVENTS.get(n).copied()) {
                if let Some(next) = after(state, event) {
                    prop_assert!(!matches!(state, State::Done | State::Aborting));
                    state = next;
                    seen.push(state);
                }
            }
            prop_assert!(!(seen.contains(&State::Closed) && seen.contains(&State::Aborting)));
            prop_assert!(!seen.contains(&State::Done) || seen.contains(&State::Closed));
        }
    }

    #[test]
    fn req_040_req_058_req_060_who_closes_what_and_how() {
        let words =
            |words: &[&str]| -> Vec<String> { words.iter().map(|it| (*it).to_owned()).collect() };
        let blocked = words(&["FRAUD"]);
        let options = [CloseOption::DeleteAll, CloseOption::KeepData];
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
            option: Some(CloseOption::DeleteAll),
            acknowledged: &[],
        };
        assert_eq!(way(&full, &policy), Ok(CloseOption::DeleteAll));
        let without = Asked {
            option: None,
            ..full
        };
        assert_eq!(
            way(&without, &policy),
            Err(CloseRefused::OptionRequired(options.to_vec()))
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
        assert_eq!(way(&by_sales, &policy), Ok(CloseOption::DeleteAll));
        let suspended = Asked {
            suspensions: &[Suspension::Fraud],
            ..full
        };
        assert_eq!(way(&suspended, &policy), Err(CloseRefused::ContactSupport));
        let given = words(&["SERVICES_STOP"]);
        let trial = Asked {
            trial: true,
            option: None,
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
            Ok(CloseOption::Close)
        );
    }
}
