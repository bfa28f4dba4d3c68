//! Orders and their states.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

/// An order, from quote to completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Root account.
    pub root_id: Uuid,
    /// Account that orders.
    pub account_id: Uuid,
    /// Order id.
    pub order_id: Uuid,
    /// `PLAN_CHANGE`, `BUY_CREDITS`, `UPGRADE`, `BUY_NUMBER`, `ADD_ON`, `REFUND_REQUEST`, `PAY_RENEWAL` or
    /// `PAY_INVOICE`.
    pub kind: String,
    /// `QUOTED`, `CONFIRMED`, `COMMITTING`, `AWAITING_PAYMENT`, `AWAITING_SETTLEMENT`, `COMPLETED`, `FAILED`,
    /// `EXPIRED` or `CANCELLED`.
    pub state: String,
    /// Whether an operator quoted the order.
    pub by_operator: bool,
    /// Who quoted the order.
    pub actor: String,
    /// Plan family.
    pub family_code: String,
    /// Plan in force at the time of the quote.
    pub from_plan_code: String,
    /// Plan ordered.
    pub to_plan_code: String,
    /// Billing cycle ordered; empty keeps the present one.
    pub billing_cycle_code: String,
    /// When the change takes effect, as quoted by `plan`.
    pub effect: String,
    /// Effective time; `None` until the payment has settled, where settlement decides it.
    pub effective_at: Option<DateTime<Utc>>,
    /// Date of the next charge.
    pub billing_on: Option<NaiveDate>,
    /// Etag of the plan timeline that the quote was computed from.
    pub timeline_etag: String,
    /// Catalogue version that the quote was computed from.
    pub catalogue_version: String,
    /// Label of the buy button.
    pub action_label: String,
    /// Warnings to show to the customer.
    pub warnings: Vec<String>,
    /// Estimated price lines.
    pub lines: Value,
    /// Confirmations required.
    pub confirmations_required: i32,
    /// Confirmations given.
    pub confirmations_given: i32,
    /// Time of the quote.
    pub created_at: DateTime<Utc>,
    /// Expiry of the quote.
    pub expires_at: DateTime<Utc>,
    /// Time of the commit.
    pub committed_at: Option<DateTime<Utc>>,
    /// Time of completion.
    pub completed_at: Option<DateTime<Utc>>,
    /// Why the order failed; empty otherwise.
    pub failure_reason: String,
    /// Payment method; `None` for the account's default method, and where none is needed.
    pub method_id: Option<Uuid>,
    /// Collection in `billing` that requests the payment.
    pub collection_id: Option<Uuid>,
    /// Invoice in `billing`.
    pub invoice_id: Option<Uuid>,
    /// Whether the order also turns on auto-recharge.
    pub auto_recharge: bool,
    /// Accepted contract offer that it was quoted from; empty for none.
    pub offer_id: String,
    /// What is bought, if it is not a plan; for a plan what the account loses by it.
    pub item: Value,
    /// The number that was bought.
    pub resource_id: Option<Uuid>,
}

impl Order {
    /// Whether the order has a price or a refund.
    pub fn is_priced(&self) -> bool {
        self.lines.as_array().is_some_and(|lines| !lines.is_empty())
    }

    /// One attribute of what is bought; empty if absent.
    pub fn item(&self, part: &str) -> &str {
        let part = self.item.get(part).and_then(Value::as_str);
        part.unwrap_or_default()
    }
}

/// State of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Quoted, not confirmed yet.
    Quoted,
    /// Confirmed at least once.
    Confirmed,
    /// Committed; other services are being called.
    Committing,
    /// Committed; the payment is undecided.
    AwaitingPayment,
    /// Committed; a payment method with slow settlement has yet to settle.
    AwaitingSettlement,
    /// Done.
    Completed,
    /// Failed for good.
    Failed,
    /// The quote expired or became invalid before the commit.
    Expired,
    /// Cancelled before it was paid.
    Cancelled,
}

/// The part of an order that decides which transitions are possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// State.
    pub state: State,
    /// Confirmations required before the commit.
    pub required: i32,
    /// Confirmations given, at most `required`.
    pub given: i32,
    /// Expiry of the quote.
    pub expires_at: DateTime<Utc>,
}

/// Why an order does not change its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OrderRefused {
    /// The quote has expired (REQ-034).
    #[error("the quote has expired; create a new order")]
    Requote,
    /// Confirmations are missing (REQ-022).
    #[error("{given} of {required} confirmations given; confirm the order again")]
    ConfirmationMissing {
        /// Confirmations required.
        required: i32,
        /// Confirmations given.
        given: i32,
    },
    /// The order is already committed, has failed or is cancelled.
    #[error("the order is already committed, has failed or is cancelled")]
    NotQuoted,
    /// The payment is being decided.
    #[error("the payment of the order is being decided")]
    UnderWay,
    /// The order is completed, failed or expired.
    #[error("the order is completed, failed or expired")]
    NotOpen,
}

impl Standing {
    /// The order after one more confirmation at `now`. Confirmations beyond `required` change nothing.
    ///
    /// # Errors
    /// `Requote` after the quote's expiry; `NotQuoted` once the order is committed or has ended.
    pub fn confirmed(self, now: DateTime<Utc>) -> Result<Self, OrderRefused> {
        match self.state {
            State::Quoted | State::Confirmed if now < self.expires_at => Ok(Self {
                state: State::Confirmed,
                given: (self.given + 1).min(self.required),
                ..self
            }),
            State::Quoted | State::Confirmed | State::Expired => Err(OrderRefused::Requote),
            State::Committing
            | State::AwaitingPayment
            | State::AwaitingSettlement
            | State::Completed
            | State::Failed
            | State::Cancelled => Err(OrderRefused::NotQuoted),
        }
    }

    /// The state at `now`: a quote that was not committed in time has expired.
    pub fn at(self, now: DateTime<Utc>) -> State {
        let open = matches!(self.state, State::Quoted | State::Confirmed);
        if open && self.expires_at <= now {
            State::Expired
        } else {
            self.state
        }
    }

    /// The order after its cancellation at `now`. A cancelled order stays as it is.
    ///
    /// # Errors
    /// `UnderWay` while its payment is being decided; `NotOpen` once it has ended.
    pub fn cancelled(self, now: DateTime<Utc>) -> Result<Self, OrderRefused> {
        match self.at(now) {
            State::Quoted | State::Confirmed | State::Cancelled => Ok(Self {
                state: State::Cancelled,
                ..self
            }),
            State::Committing | State::AwaitingPayment | State::AwaitingSettlement => {
                Err(OrderRefused::UnderWay)
            }
            State::Completed | State::Failed | State::Expired => Err(OrderRefused::NotOpen),
        }
    }

    /// The order after its commit at `now`. An order that is already committed stays as it is.
    ///
    /// # Errors
    /// `Requote` after the quote's expiry; `ConfirmationMissing`; `NotQuoted` if the order has failed.
    pub fn committed(self, now: DateTime<Utc>) -> Result<Self, OrderRefused> {
        let Self {
            required, given, ..
        } = self;
        match self.state {
            State::Committing
            | State::AwaitingPayment
            | State::AwaitingSettlement
            | State::Completed => Ok(self),
            State::Failed | State::Cancelled => Err(OrderRefused::NotQuoted),
            State::Expired => Err(OrderRefused::Requote),
            State::Quoted | State::Confirmed if self.expires_at <= now => {
                Err(OrderRefused::Requote)
            }
            State::Quoted | State::Confirmed if given < required => {
                Err(OrderRefused::ConfirmationMissing { required, given })
            }
            State::Quoted | State::Confirmed => Ok(Self {
                state: State::Committing,
                ..self
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(60 * minute, 0).unwrap()
    }

    const QUOTED: Standing = Standing {
        state: State::Quoted,
        required: 2,
        given: 0,
        expires_at: DateTime::<Utc>::MAX_UTC,
    };

    #[test]
    fn req_022_a_commit_needs_every_confirmation() {
        assert_eq!(
            QUOTED.committed(at(0)),
            Err(OrderRefused::ConfirmationMissing {
                required: 2,
                given: 0
            })
        );
        let once = QUOTED.confirmed(at(0)).unwrap();
        assert_eq!(
            once.committed(at(0)),
            Err(OrderRefused::ConfirmationMissing {
                required: 2,
                given: 1
            })
        );
        let twice = once.confirmed(at(0)).unwrap();
        assert_eq!(
            twice.committed(at(0)).map(|it| it.state),
            Ok(State::Committing)
        );
        assert_eq!(twice.confirmed(at(0)), Ok(twice));
    }

    #[test]
    fn req_034_a_quote_ends_at_its_expiry_and_a_commit_stays() {
        let expiring = Standing {
            required: 0,
            expires_at: at(30),
            ..QUOTED
        };
        assert!(expiring.committed(at(29)).is_ok());
        assert_eq!(expiring.committed(at(30)), Err(OrderRefused::Requote));
        assert_eq!(expiring.confirmed(at(30)), Err(OrderRefused::Requote));
        let done = Standing {
            state: State::Completed,
            ..expiring
        };
        assert_eq!(done.committed(at(99)), Ok(done));
        assert_eq!(done.confirmed(at(0)), Err(OrderRefused::NotQuoted));
    }

    #[test]
    fn what_is_not_paid_can_be_cancelled_and_what_has_ended_stays() {
        let in_state = |state| Standing {
            state,
            expires_at: at(30),
            ..QUOTED
        };
        for (state, cancelled) in [
            (State::Quoted, Ok(State::Cancelled)),
            (State::Confirmed, Ok(State::Cancelled)),
            (State::Cancelled, Ok(State::Cancelled)),
            (State::Committing, Err(OrderRefused::UnderWay)),
            (State::AwaitingPayment, Err(OrderRefused::UnderWay)),
            (State::AwaitingSettlement, Err(OrderRefused::UnderWay)),
            (State::Completed, Err(OrderRefused::NotOpen)),
            (State::Failed, Err(OrderRefused::NotOpen)),
            (State::Expired, Err(OrderRefused::NotOpen)),
        ] {
            let done = in_state(state).cancelled(at(29));
            assert_eq!(done.map(|it| it.state), cancelled, "{state:?}");
        }
        let gone = in_state(State::Cancelled);
        assert_eq!(gone.confirmed(at(0)), Err(OrderRefused::NotQuoted));
        assert_eq!(gone.committed(at(0)), Err(OrderRefused::NotQuoted));
    }

    #[test]
    fn a_quote_that_was_not_committed_in_time_has_expired() {
        for (state, then) in [
            (State::Quoted, State::Expired),
            (State::Confirmed, State::Expired),
            (State::Committing, State::Committing),
            (State::Completed, State::Completed),
            (State::Cancelled, State::Cancelled),
        ] {
            let order = Standing {
                state,
                expires_at: at(30),
                ..QUOTED
            };
            assert_eq!(order.at(at(29)), state);
            assert_eq!(order.at(at(30)), then);
            let cancelled = order.cancelled(at(30)).is_ok();
            assert_eq!(cancelled, state == State::Cancelled, "{state:?}");
        }
    }
}
