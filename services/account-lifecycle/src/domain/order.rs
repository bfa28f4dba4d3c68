//! Orders and their states.

use chrono::{DateTime, NaiveDate, Utc};
use thiserror::Error;
use uuid::Uuid;

use super::purchase::{Line, Purchase};

pub use super::purchase::OrderKind;

/// An order, from quote to completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Root account.
    pub root_id: Uuid,
    /// Account that orders.
    pub account_id: Uuid,
    /// Order id.
    pub order_id: Uuid,
    /// What is ordered.
    pub purchase: Purchase,
    /// State as stored. [`Standing::at`] says whether the quote has expired since.
    pub state: State,
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
    pub effect: Effect,
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
    /// Price lines.
    pub lines: Vec<Line>,
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
    /// The number that was bought.
    pub resource_id: Option<Uuid>,
}

impl Order {
    /// Whether the order has a price or a refund.
    pub const fn is_priced(&self) -> bool {
        !self.lines.is_empty()
    }

    /// The kind of the order.
    pub const fn kind(&self) -> OrderKind {
        self.purchase.kind()
    }

    /// The part of the order that decides which transitions are possible.
    pub const fn standing(&self) -> Standing {
        Standing {
            state: self.state,
            required: self.confirmations_required,
            given: self.confirmations_given,
            expires_at: self.expires_at,
        }
    }
}

named! {
    /// When an order takes effect.
    Effect {
        /// At the commit.
        Immediate = "IMMEDIATE",
        /// When its payment has settled.
        ImmediateOnPayment = "IMMEDIATE_ON_PAYMENT",
        /// With the next cycle of usage.
        NextCycle = "NEXT_CYCLE",
        /// With the next renewal of the subscription.
        NextRenewal = "NEXT_RENEWAL",
    }
}

named! {
    /// State of an order.
    State {
        /// Quoted, not confirmed yet.
        Quoted = "QUOTED",
        /// Confirmed at least once.
        Confirmed = "CONFIRMED",
        /// Committed; other services are being called.
        Committing = "COMMITTING",
        /// Committed; the payment is undecided.
        AwaitingPayment = "AWAITING_PAYMENT",
        /// Committed; a payment method with slow settlement has yet to settle.
        AwaitingSettlement = "AWAITING_SETTLEMENT",
        /// Done.
        Completed = "COMPLETED",
        /// Failed for good.
        Failed = "FAILED",
        /// The quote expired before the commit, or no longer held at the commit.
        Expired = "EXPIRED",
        /// Cancelled before it was paid.
        Cancelled = "CANCELLED",
    }
}

impl State {
    /// Whether the order is committed and has not ended.
    pub const fn is_under_way(self) -> bool {
        matches!(
            self,
            Self::Committing | Self::AwaitingPayment | Self::AwaitingSettlement
        )
    }
}

/// What happens to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The quote is confirmed, once more or for the first time.
    Confirmed,
    /// The order is committed.
    Committed,
    /// The order is cancelled before its commit.
    Cancelled,
    /// The quote reaches its expiry.
    Lapsed,
    /// The payment is about to be requested.
    PaymentRequested,
    /// The payment is undecided.
    PaymentPending,
    /// The payment is accepted and has yet to settle.
    SettlementPending,
    /// What was ordered is paid and in force.
    Fulfilled,
    /// The payment was declined, or another service refused.
    Refused,
    /// The quote no longer holds at the commit.
    QuoteOutdated,
    /// The customer stopped waiting for the payment before it settled.
    PaymentWithdrawn,
}

/// The state of an order after an event; `None` if the event can't happen in this state.
pub const fn after(state: State, event: Event) -> Option<State> {
    match state {
        State::Quoted | State::Confirmed => match event {
            Event::Confirmed => Some(State::Confirmed),
            Event::Committed => Some(State::Committing),
            Event::Cancelled => Some(State::Cancelled),
            Event::Lapsed => Some(State::Expired),
            Event::PaymentRequested
            | Event::PaymentPending
            | Event::SettlementPending
            | Event::Fulfilled
            | Event::Refused
            | Event::QuoteOutdated
            | Event::PaymentWithdrawn => None,
        },
        State::Committing | State::AwaitingPayment | State::AwaitingSettlement => match event {
            // The payment is requested once; a later attempt finds it requested.
            Event::PaymentRequested if matches!(state, State::Committing) => {
                Some(State::AwaitingPayment)
            }
            Event::PaymentPending => Some(State::AwaitingPayment),
            Event::SettlementPending => Some(State::AwaitingSettlement),
            Event::Fulfilled => Some(State::Completed),
            Event::Refused => Some(State::Failed),
            Event::QuoteOutdated => Some(State::Expired),
            Event::PaymentWithdrawn => Some(State::Cancelled),
            Event::Confirmed
            | Event::Committed
            | Event::Cancelled
            | Event::Lapsed
            | Event::PaymentRequested => None,
        },
        State::Completed | State::Failed | State::Expired | State::Cancelled => None,
    }
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
        let state = self.at(now);
        match after(state, Event::Confirmed) {
            Some(state) => Ok(Self {
                state,
                given: (self.given + 1).min(self.required),
                ..self
            }),
            None if state == State::Expired => Err(OrderRefused::Requote),
            None => Err(OrderRefused::NotQuoted),
        }
    }

    /// The state at `now`: a quote that was not committed in time has expired.
    pub fn at(self, now: DateTime<Utc>) -> State {
        let lapsed = after(self.state, Event::Lapsed).filter(|_| self.expires_at <= now);
        lapsed.unwrap_or(self.state)
    }

    /// The order after its cancellation at `now`. A cancelled order stays as it is.
    ///
    /// # Errors
    /// `UnderWay` while its payment is being decided; `NotOpen` once it has ended.
    pub fn cancelled(self, now: DateTime<Utc>) -> Result<Self, OrderRefused> {
        let state = self.at(now);
        match after(state, Event::Cancelled) {
            Some(state) => Ok(Self { state, ..self }),
            None if state == State::Cancelled => Ok(self),
            None if state.is_under_way() => Err(OrderRefused::UnderWay),
            None => Err(OrderRefused::NotOpen),
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
        let state = self.at(now);
        match after(state, Event::Committed) {
            Some(_) if given < required => {
                Err(OrderRefused::ConfirmationMissing { required, given })
            }
            Some(state) => Ok(Self { state, ..self }),
            None if state == State::Completed || state.is_under_way() => Ok(self),
            None if state == State::Expired => Err(OrderRefused::Requote),
            None => Err(OrderRefused::NotQuoted),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EVENTS: [Event; 11] = [
        Event::Confirmed,
        Event::Committed,
        Event::Cancelled,
        Event::Lapsed,
        Event::PaymentRequested,
        Event::PaymentPending,
        Event::SettlementPending,
        Event::Fulfilled,
        Event::Refused,
        Event::QuoteOutdated,
        Event::PaymentWithdrawn,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{
            AwaitingPayment, AwaitingSettlement, Cancelled, Committing, Completed, Confirmed,
            Expired, Failed, Quoted,
        };
        let quotes = [Quoted, Confirmed];
        let committed = [Committing, AwaitingPayment, AwaitingSettlement];
        let ended = [Completed, Failed, Expired, Cancelled];
        let cases: [(Event, Option<State>, [Option<State>; 3]); 11] = [
            (Event::Confirmed, Some(Confirmed), [None; 3]),
            (Event::Committed, Some(Committing), [None; 3]),
            (Event::Cancelled, Some(Cancelled), [None; 3]),
            (Event::Lapsed, Some(Expired), [None; 3]),
            (
                Event::PaymentRequested,
                None,
                [Some(AwaitingPayment), None, None],
            ),
            (Event::PaymentPending, None, [Some(AwaitingPayment); 3]),
            (
                Event::SettlementPending,
                None,
                [Some(AwaitingSettlement); 3],
            ),
            (Event::Fulfilled, None, [Some(Completed); 3]),
            (Event::Refused, None, [Some(Failed); 3]),
            (Event::QuoteOutdated, None, [Some(Expired); 3]),
            (Event::PaymentWithdrawn, None, [Some(Cancelled); 3]),
        ];
        assert_eq!(cases.map(|(event, ..)| event), EVENTS);
        for (event, of_quote, of_committed) in cases {
            for state in quotes {
                assert_eq!(after(state, event), of_quote, "{state:?} {event:?}");
            }
            for (state, expected) in committed.into_iter().zip(of_committed) {
                assert_eq!(after(state, event), expected, "{state:?} {event:?}");
            }
            for state in ended {
                assert_eq!(after(state, event), None, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn each_name_is_of_one_variant() {
        for state in State::ALL.iter().copied() {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for kind in OrderKind::ALL.iter().copied() {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        for effect in Effect::ALL.iter().copied() {
            assert_eq!(effect.as_str().parse(), Ok(effect));
        }
        assert_eq!("quoted".parse::<State>(), Err(crate::domain::UnknownName));
    }

    proptest! {
        /// Whatever the order of events, a commit is never taken back, and an order that has ended stays as it ended.
        #[test]
        fn an_order_only_moves_forward(events in proptest::collection::vec(0..EVENTS.len(), 0..12)) {
            let phase = |state: State| match state {
                State::Quoted => 0,
                State::Confirmed => 1,
                State::Committing => 2,
                State::AwaitingPayment | State::AwaitingSettlement => 3,
                State::Completed | State::Failed | State::Expired | State::Cancelled => 4,
            };
            let mut state = State::Quoted;
            for event in events.into_iter().filter_map(|n| EVENTS.get(n).copied()) {
                if let Some(next) = after(state, event) {
                    prop_assert!(phase(state) < 4);
                    prop_assert!(phase(state) <= phase(next));
                    state = next;
                }
            }
        }
    }

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
