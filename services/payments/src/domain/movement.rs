//! The states of a movement (a charge or a refund), and how a provider's answer changes them (R2).

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use values::Money;

/// The direction of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// From the customer to us.
    Charge,
    /// Back to the customer.
    Refund,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Charge, Self::Refund];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "CHARGE",
            Self::Refund => "REFUND",
        }
    }
}

/// What a charge pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A subscription: its first cycle, a renewal or an upgrade.
    Subscription,
    /// Credit that is paid in advance.
    Credits,
    /// An invoice of usage or of plans that are billed in arrears.
    Invoice,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 3] = [Self::Subscription, Self::Credits, Self::Invoice];

    /// Name as stored, and as in a catalogue document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subscription => "SUBSCRIPTION",
            Self::Credits => "CREDITS",
            Self::Invoice => "INVOICE",
        }
    }

    /// The purpose with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }
}

/// State of a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Stored; the provider has not been asked yet.
    Created,
    /// The provider is being asked.
    Sending,
    /// Accepted by the provider; decided later.
    Pending,
    /// The money has moved.
    Succeeded,
    /// Definitely refused; no money has moved.
    Declined,
    /// Asked, without a definite answer. Looked up until there is one; never ended by a timer.
    Unknown,
    /// Certainly never reached the provider; no money has moved.
    FailedNotSent,
    /// Waits for an operator.
    Parked,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Sending,
        Self::Pending,
        Self::Succeeded,
        Self::Declined,
        Self::Unknown,
        Self::FailedNotSent,
        Self::Parked,
    ];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Sending => "SENDING",
            Self::Pending => "PENDING",
            Self::Succeeded => "SUCCEEDED",
            Self::Declined => "DECLINED",
            Self::Unknown => "UNKNOWN",
            Self::FailedNotSent => "FAILED_NOT_SENT",
            Self::Parked => "PARKED",
        }
    }

    /// Whether this state is terminal.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Declined | Self::FailedNotSent)
    }

    /// Whether the movement certainly moved no money and never will.
    pub const fn is_refused(self) -> bool {
        matches!(self, Self::Declined | Self::FailedNotSent)
    }
}

/// Why a movement waits for an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkedReason {
    /// The provider's book has it under another reference.
    ReferenceDiffers,
    /// It moved in another currency than asked for.
    CurrencyDiffers,
    /// It moved in another amount than asked for.
    AmountDiffers,
    /// An operator pays the refund out by bank transfer.
    ManualBankTransfer,
}

impl ParkedReason {
    /// Every reason.
    pub const ALL: [Self; 4] = [
        Self::ReferenceDiffers,
        Self::CurrencyDiffers,
        Self::AmountDiffers,
        Self::ManualBankTransfer,
    ];

    /// Name as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReferenceDiffers => "REFERENCE_DIFFERS",
            Self::CurrencyDiffers => "CURRENCY_DIFFERS",
            Self::AmountDiffers => "AMOUNT_DIFFERS",
            Self::ManualBankTransfer => "MANUAL_BANK_TRANSFER",
        }
    }
}

/// Our reasons for refused movements. A provider's reasons are its own words, of which there is no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalReason {
    /// The request never reached the provider.
    NotSent,
    /// An operator states that the provider refused.
    Refused,
    /// An operator states that the payment of an offline charge has bounced.
    Bounced,
    /// The charge was cancelled, as nobody waits for it any more.
    Withdrawn,
}

impl RefusalReason {
    /// Name as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotSent => "NOT_SENT",
            Self::Refused => "REFUSED",
            Self::Bounced => "BOUNCED",
            Self::Withdrawn => "WITHDRAWN",
        }
    }
}

/// What a provider says about a movement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The money has moved.
    Moved {
        /// Provider's id.
        provider_id: String,
        /// Reference in the provider's book. If it is not ours, the movement is not ours either.
        reference: Uuid,
        /// Amount that has moved according to the provider's book.
        money: Money,
        /// When it moved according to the provider's book.
        at: DateTime<Utc>,
    },
    /// The provider definitely refused.
    Refused {
        /// Refusal reason, such as `INSUFFICIENT_FUNDS`.
        reason: String,
        /// Whether another attempt with the same method may succeed.
        retryable: bool,
    },
    /// In progress: the method settles slowly, or the customer must confirm.
    Pending {
        /// Provider's id.
        provider_id: String,
        /// Page on which the customer confirms; empty if there is nothing to confirm.
        action_url: String,
    },
    /// The request certainly was not sent, and no other was.
    NotSent,
    /// The provider's book has no such movement, and no request for it can still arrive.
    Absent,
    /// No definite answer: a timeout, a connection reset, a server fault or a malformed response.
    Unknown,
}

/// What the provider was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Our reference.
    pub reference: Uuid,
    /// Amount.
    pub money: Money,
}

/// The effect of an answer on a movement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// New state.
    pub state: State,
    /// Provider's id; empty keeps the known one.
    pub provider_id: String,
    /// Settled amount and time; only with `Succeeded`.
    pub settled: Option<(Money, DateTime<Utc>)>,
    /// Reason of `Declined` or `FailedNotSent`; empty otherwise.
    pub failure_reason: String,
    /// Whether another attempt with the same method may succeed.
    pub retryable: bool,
    /// Reason of `Parked`; `None` otherwise.
    pub parked_reason: Option<ParkedReason>,
    /// Page on which the customer confirms; empty if there is nothing to confirm.
    pub action_url: String,
}

impl Change {
    /// A change to a state without further facts.
    pub const fn to(state: State) -> Self {
        Self {
            state,
            provider_id: String::new(),
            settled: None,
            failure_reason: String::new(),
            retryable: false,
            parked_reason: None,
            action_url: String::new(),
        }
    }

    /// The change of a movement that never reached the provider.
    pub fn not_sent() -> Self {
        Self::refused(State::FailedNotSent, RefusalReason::NotSent.as_str(), true)
    }

    /// A change to a refused state for `reason`.
    pub fn refused(state: State, reason: &str, retryable: bool) -> Self {
        Self {
            failure_reason: reason.to_owned(),
            retryable,
            ..Self::to(state)
        }
    }
}

/// The change that `answer` causes to a movement in `state`; `None` if it changes nothing.
///
/// - A terminal state never changes, nor does `Parked`, which waits for an operator.
/// - Money that moved under another reference, in another currency or in another amount than asked for parks the
///   movement; it never counts as settled (R5). The provider's id is then taken over only if the reference is ours.
/// - `NotSent` counts only for the first request: once a movement is `Unknown` or `Pending`, an earlier request may
///   have arrived.
/// - `Absent` ends a movement that is `Sending` or `Unknown`, but not one that the provider had accepted.
/// - `Unknown` turns `Sending` into `Unknown` and changes no other state.
pub fn after(state: State, asked: Asked, answer: Answer) -> Option<Change> {
    if state.is_final() || state == State::Parked {
        return None;
    }
    match answer {
        Answer::Moved {
            provider_id,
            reference,
            money,
            at,
        } => {
            let differs = if reference != asked.reference {
                Some(ParkedReason::ReferenceDiffers)
            } else if money.currency() != asked.money.currency() {
                Some(ParkedReason::CurrencyDiffers)
            } else if money != asked.money {
                Some(ParkedReason::AmountDiffers)
            } else {
                None
            };
            let parked = differs.is_some();
            let change = Change::to(if parked {
                State::Parked
            } else {
                State::Succeeded
            });
            let ours = reference == asked.reference;
            Some(Change {
                provider_id: if ours { provider_id } else { String::new() },
                settled: (!parked).then_some((money, at)),
                parked_reason: differs,
                ..change
            })
        }
        Answer::Refused { reason, retryable } => {
            Some(Change::refused(State::Declined, &reason, retryable))
        }
        Answer::Pending {
            provider_id,
            action_url,
        } => (state != State::Pending).then(|| Change {
            provider_id,
            action_url,
            ..Change::to(State::Pending)
        }),
        Answer::NotSent if state == State::Sending => Some(Change::not_sent()),
        Answer::Absent if matches!(state, State::Sending | State::Unknown) => {
            Some(Change::not_sent())
        }
        Answer::Unknown if state == State::Sending => Some(Change::to(State::Unknown)),
        Answer::NotSent | Answer::Absent | Answer::Unknown => None,
    }
}

/// What to do with a movement that the provider's book does not contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Send the request again with the same reference: the provider treats both as one.
    AskAgain,
    /// The request never arrived and never will.
    NotSent,
}

/// Safety margin: requests are not sent in the last hour of the window, so that they arrive within it.
const MARGIN: TimeDelta = TimeDelta::hours(1);

/// What to do if the provider's book does not contain a movement. The provider deduplicates requests with the same
/// reference during `window` after the first one (R4). `None` if nothing can be done or concluded.
///
/// A request may still be in transit, so its absence proves nothing yet. Within the window a repeated request can't
/// move money twice; after the window it could. Once the last request is older than the window, none is in transit any
/// more.
pub fn absent(asked_for: AskedFor, window: TimeDelta) -> Option<Absent> {
    if asked_for.first < window - MARGIN {
        Some(Absent::AskAgain)
    } else if window <= asked_for.last {
        Some(Absent::NotSent)
    } else {
        None
    }
}

/// Time since the provider was asked for a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedFor {
    /// Since the first request.
    pub first: TimeDelta,
    /// Since the last request.
    pub last: TimeDelta,
}

/// Seconds until a movement that was looked up `look_ups` times is looked up again: 1, 3, 12, 60, 720 and then 17,280
/// times `first`, without end (R6: 5 s, 15 s, 1 min, 5 min, 1 h, 1 day).
pub fn look_up_pause(look_ups: i32, first: i64) -> i64 {
    let times = match look_ups {
        ..=0 => 1,
        1 => 3,
        2 => 12,
        3 => 60,
        4 => 720,
        5.. => 17_280,
    };
    first.saturating_mul(times)
}

/// Seconds until a look-up that got no answer is repeated. Constant, since no answer says nothing about the movement.
pub fn unreached_pause(first: i64) -> i64 {
    first.saturating_mul(2).clamp(6, 30)
}

/// The reference of a movement at its provider. It is the same for every retry, for a restored database and a replayed
/// saga, and differs between attempts (R3).
pub fn provider_key(subject: Uuid, intent: &str, attempt: i32) -> Uuid {
    Uuid::new_v5(&subject, format!("{intent}/{attempt}").as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use values::Currency;

    use super::*;

    const KEY: Uuid = Uuid::from_u128(7);

    fn asked() -> Asked {
        Asked {
            reference: KEY,
            money: Money::from_minor(10_00, Currency::Usd),
        }
    }

    fn moved(reference: Uuid, minor: i64, currency: Currency) -> Answer {
        Answer::Moved {
            provider_id: "p1".to_owned(),
            reference,
            money: Money::from_minor(minor, currency),
            at: DateTime::UNIX_EPOCH,
        }
    }

    fn refused() -> Answer {
        Answer::Refused {
            reason: "INSUFFICIENT_FUNDS".to_owned(),
            retryable: true,
        }
    }

    fn pending() -> Answer {
        Answer::Pending {
            provider_id: "p1".to_owned(),
            action_url: String::new(),
        }
    }

    #[test]
    fn what_each_answer_makes_of_each_state() {
        use State::{
            Created, Declined, FailedNotSent, Parked, Pending, Sending, Succeeded, Unknown,
        };
        let right = moved(KEY, 10_00, Currency::Usd);
        let open = [Created, Sending, Pending, Unknown];
        let cases: [(Answer, [Option<State>; 4]); 6] = [
            (right, [Some(Succeeded); 4]),
            (refused(), [Some(Declined); 4]),
            (
                pending(),
                [Some(Pending), Some(Pending), None, Some(Pending)],
            ),
            (Answer::NotSent, [None, Some(FailedNotSent), None, None]),
            (
                Answer::Absent,
                [None, Some(FailedNotSent), None, Some(FailedNotSent)],
            ),
            (Answer::Unknown, [None, Some(Unknown), None, None]),
        ];
        for (answer, expected) in cases {
            for (state, expected) in open.into_iter().zip(expected) {
                let change = after(state, asked(), answer.clone());
                assert_eq!(change.map(|it| it.state), expected, "{state:?} {answer:?}");
            }
            for state in [Succeeded, Declined, FailedNotSent, Parked] {
                assert_eq!(after(state, asked(), answer.clone()), None, "{state:?}");
            }
        }
    }

    #[test]
    fn what_moved_otherwise_than_asked_is_parked() {
        for (answer, reason) in [
            (
                moved(KEY, 10_01, Currency::Usd),
                ParkedReason::AmountDiffers,
            ),
            (
                moved(KEY, 10_00, Currency::Inr),
                ParkedReason::CurrencyDiffers,
            ),
            (
                moved(Uuid::from_u128(8), 10_00, Currency::Usd),
                ParkedReason::ReferenceDiffers,
            ),
        ] {
            let change = after(State::Unknown, asked(), answer).unwrap();
            assert_eq!(
                (change.state, change.parked_reason, change.settled),
                (State::Parked, Some(reason), None)
            );
        }
    }

    #[test]
    fn absence_is_believed_only_when_no_request_can_be_on_its_way() {
        let day = TimeDelta::days(1);
        let after = |first, last| {
            let (first, last) = (TimeDelta::hours(first), TimeDelta::hours(last));
            absent(AskedFor { first, last }, day)
        };
        assert_eq!(after(22, 1), Some(Absent::AskAgain));
        // The provider may have forgotten the reference, while a request may still be in transit.
        assert_eq!(after(23, 1), None);
        assert_eq!(after(46, 23), None);
        assert_eq!(after(47, 24), Some(Absent::NotSent));
    }

    #[test]
    fn look_ups_never_end() {
        let pauses: Vec<i64> = (0..8).map(|n| look_up_pause(n, 5)).collect();
        assert_eq!(pauses, [5, 15, 60, 300, 3_600, 86_400, 86_400, 86_400]);
    }

    #[test]
    fn a_look_up_that_reached_nobody_is_made_again_soon_whatever_the_outage() {
        let pauses: Vec<i64> = [1, 5, 3_600].into_iter().map(unreached_pause).collect();
        assert_eq!(pauses, [6, 10, 30]);
    }

    #[test]
    fn a_reference_follows_from_what_it_is_for() {
        let invoice = Uuid::from_u128(1);
        assert_eq!(
            provider_key(invoice, "CHARGE", 1),
            provider_key(invoice, "CHARGE", 1)
        );
        let others = [
            provider_key(invoice, "CHARGE", 2),
            provider_key(invoice, "REFUND", 1),
            provider_key(Uuid::from_u128(2), "CHARGE", 1),
        ];
        assert!(!others.contains(&provider_key(invoice, "CHARGE", 1)));
    }

    fn answers() -> impl Strategy<Value = Answer> {
        prop_oneof![
            Just(moved(KEY, 10_00, Currency::Usd)),
            Just(moved(KEY, 9_99, Currency::Usd)),
            Just(refused()),
            Just(pending()),
            Just(Answer::NotSent),
            Just(Answer::Absent),
            Just(Answer::Unknown),
        ]
    }

    proptest! {
        /// Whatever the order of answers, a terminal state stays, and only a provider's word that exactly the amount
        /// asked for has moved makes a success.
        #[test]
        fn no_answer_undoes_another(answers in proptest::collection::vec(answers(), 0..12)) {
            let mut state = State::Sending;
            for answer in answers {
                let before = state;
                if let Some(change) = after(state, asked(), answer.clone()) {
                    prop_assert!(!before.is_final());
                    prop_assert_eq!(change.settled.is_some(), change.state == State::Succeeded);
                    if change.state == State::Succeeded {
                        prop_assert_eq!(&answer, &moved(KEY, 10_00, Currency::Usd));
                    }
                    state = change.state;
                }
            }
        }
    }
}
