//! What an order may do next.

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

/// An order, from its quote on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Its root account.
    pub root_id: Uuid,
    /// Its account.
    pub account_id: Uuid,
    /// Its id.
    pub order_id: Uuid,
    /// `PLAN_CHANGE`, `BUY_CREDITS`, `UPGRADE`, `BUY_NUMBER`, `ADD_ON`, `REFUND_REQUEST` or
    /// `PAY_RENEWAL` or `PAY_INVOICE`.
    pub kind: String,
    /// QUOTED, CONFIRMED, COMMITTING, `AWAITING_PAYMENT`, `AWAITING_SETTLEMENT`, COMPLETED, FAILED or
    /// EXPIRED.
    pub state: String,
    /// Whether an operator quoted it.
    pub by_operator: bool,
    /// Who quoted it.
    pub actor: String,
    /// The family.
    pub family_code: String,
    /// The plan in force at the quote.
    pub from_plan_code: String,
    /// The plan asked for.
    pub to_plan_code: String,
    /// The cycle asked for; empty keeps the present one.
    pub billing_cycle_code: String,
    /// When it takes effect.
    pub effect: String,
    /// The instant; `None` until the payment has settled, where that decides it.
    pub effective_at: Option<DateTime<Utc>>,
    /// The day of the next charge.
    pub billing_on: Option<NaiveDate>,
    /// The timeline it was quoted on.
    pub timeline_etag: String,
    /// The catalogue version it was quoted from.
    pub catalogue_version: String,
    /// The label of the buy action.
    pub action_label: String,
    /// What the customer should know.
    pub warnings: Vec<String>,
    /// Estimated lines.
    pub lines: Value,
    /// Confirmations that it needs.
    pub confirmations_required: i32,
    /// Confirmations given.
    pub confirmations_given: i32,
    /// When it was quoted.
    pub created_at: DateTime<Utc>,
    /// From when the quote does not hold.
    pub expires_at: DateTime<Utc>,
    /// When it was committed.
    pub committed_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub completed_at: Option<DateTime<Utc>>,
    /// Why it failed.
    pub failure_reason: String,
    /// The payment method; `None` for the account's default one, and where none is needed.
    pub method_id: Option<Uuid>,
    /// The collection of `billing` that asks for the payment.
    pub collection_id: Option<Uuid>,
    /// The invoice of `billing`.
    pub invoice_id: Option<Uuid>,
    /// Whether auto-recharge is switched on with it.
    pub auto_recharge: bool,
    /// The accepted offer that it was quoted by; empty for none.
    pub offer_id: String,
    /// What is bought where it is no plan.
    pub item: Value,
    /// The number that was bought.
    pub resource_id: Option<Uuid>,
}

impl Order {
    /// Whether it costs, or gives back, something.
    pub fn is_priced(&self) -> bool {
        self.lines.as_array().is_some_and(|lines| !lines.is_empty())
    }

    /// A part of what is bought; empty where it has none.
    pub fn item(&self, part: &str) -> &str {
        let part = self.item.get(part).and_then(Value::as_str);
        part.unwrap_or_default()
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Quoted; nothing confirmed.
    Quoted,
    /// Confirmed at least once.
    Confirmed,
    /// Committed; the other services are being asked.
    Committing,
    /// Committed; the payment is not decided.
    AwaitingPayment,
    /// Committed; a slow method has yet to settle.
    AwaitingSettlement,
    /// Done.
    Completed,
    /// Turned down for good.
    Failed,
    /// Not committed in time, or the quote does not hold any more.
    Expired,
}

/// The part of an order that decides what it may do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// Confirmations that it needs before its commit.
    pub required: i32,
    /// Confirmations given, at most as many.
    pub given: i32,
    /// From when the quote does not hold any more.
    pub expires_at: DateTime<Utc>,
}

/// Why an order does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OrderRefused {
    /// The quote does not hold any more (REQ-034).
    #[error("the quote does not hold any more: quote again")]
    Requote,
    /// Confirmations are missing (REQ-022).
    #[error("{given} of {required} confirmations given")]
    ConfirmationMissing {
        /// How many are needed.
        required: i32,
        /// How many are given.
        given: i32,
    },
    /// It is committed or ended.
    #[error("the order is not open")]
    NotQuoted,
}

impl Standing {
    /// The order, confirmed once more at `now`; more than it needs changes nothing.
    ///
    /// # Errors
    /// `Requote` after its expiry; `NotQuoted` once it is committed or ended.
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
            | State::Failed => Err(OrderRefused::NotQuoted),
        }
    }

    /// The order, committed at `now`. One that is committed already stays as it is.
    ///
    /// # Errors
    /// `Requote` after its expiry; `ConfirmationMissing`; `NotQuoted` when it has failed.
    pub fn committed(self, now: DateTime<Utc>) -> Result<Self, OrderRefused> {
        let Self {
            required, given, ..
        } = self;
        match self.state {
            State::Committing
            | State::AwaitingPayment
            | State::AwaitingSettlement
            | State::Completed => Ok(self),
            State::Failed => Err(OrderRefused::NotQuoted),
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
}
