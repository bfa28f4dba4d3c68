//! Where a charge or a refund stands, and what an answer makes of it (R2).

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use values::Money;

/// Where a movement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Written down; the provider was not asked yet.
    Created,
    /// The provider is being asked.
    Sending,
    /// Accepted; decided later.
    Pending,
    /// The money has moved.
    Succeeded,
    /// Definitely refused; nothing has moved.
    Declined,
    /// Asked, and no definite answer came. Looked up until there is one; never ended by a timer.
    Unknown,
    /// Certainly never reached the provider; nothing has moved.
    FailedNotSent,
    /// Waits for a person.
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

    /// Its name, as it is stored.
    pub const fn name(self) -> &'static str {
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

    /// The state of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether it never changes again.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Declined | Self::FailedNotSent)
    }

    /// Whether it certainly moved no money and never will.
    pub const fn is_refused(self) -> bool {
        matches!(self, Self::Declined | Self::FailedNotSent)
    }
}

/// What a provider says of a movement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The money has moved.
    Moved {
        /// The provider's id.
        provider_id: String,
        /// The reference that its book holds: ours, or the movement is not ours.
        reference: Uuid,
        /// What its book says has moved.
        money: Money,
        /// When, by its book.
        at: DateTime<Utc>,
    },
    /// It was turned down for good.
    Refused {
        /// Why, such as `INSUFFICIENT_FUNDS`.
        reason: String,
        /// Whether another attempt by the same method may succeed.
        retryable: bool,
    },
    /// It is under way: a slow method, or the person must act.
    Pending {
        /// The provider's id.
        provider_id: String,
        /// Where the person confirms; empty where nothing is to be done.
        action_url: String,
    },
    /// The request certainly did not leave us, and no other was sent.
    NotSent,
    /// The book has no such movement, and no request for it can be on its way any more.
    Absent,
    /// Nobody knows: a timeout, a reset, a fault, an answer that does not read.
    Unknown,
}

/// What was asked of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Our reference.
    pub reference: Uuid,
    /// How much.
    pub money: Money,
}

/// What an answer makes of a movement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The state it goes to.
    pub state: State,
    /// The provider's id; empty leaves what is known.
    pub provider_id: String,
    /// What has moved and when; only with `Succeeded`.
    pub settled: Option<(Money, DateTime<Utc>)>,
    /// Why it is `Declined` or `FailedNotSent`; empty otherwise.
    pub failure_reason: String,
    /// Whether another attempt by the same method may succeed.
    pub retryable: bool,
    /// Why it is `Parked`; empty otherwise.
    pub parked_reason: &'static str,
    /// Where the person confirms; empty where nothing is to be done.
    pub action_url: String,
}

impl Change {
    /// A change to a state that says nothing else.
    pub const fn to(state: State) -> Self {
        Self {
            state,
            provider_id: String::new(),
            settled: None,
            failure_reason: String::new(),
            retryable: false,
            parked_reason: "",
            action_url: String::new(),
        }
    }

    /// Nothing has moved, because of `reason`.
    pub fn refused(state: State, reason: &str, retryable: bool) -> Self {
        Self {
            failure_reason: reason.to_owned(),
            retryable,
            ..Self::to(state)
        }
    }
}

/// What `answer` makes of a movement in `state`; `None` when it changes nothing.
///
/// - A final state stays, and so does `Parked`, which waits for a person.
/// - What has moved under another reference, in another currency or of another amount than was
///   asked for is parked, never taken for settled (R5).
/// - `NotSent` is believed only of the first request, by whoever sent it: while a movement is `Unknown`
///   or `Pending` an earlier one may have arrived.
/// - `Absent` ends what nobody knew of; what the provider had accepted it does not.
/// - Another movement's id is not taken over with a reference that is not ours.
/// - `Unknown` makes `Sending` unknown and tells nothing of any other state.
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
                "REFERENCE_DIFFERS"
            } else if money.currency() != asked.money.currency() {
                "CURRENCY_DIFFERS"
            } else if money != asked.money {
                "AMOUNT_DIFFERS"
            } else {
                ""
            };
            let parked = !differs.is_empty();
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
        Answer::NotSent if state == State::Sending => {
            Some(Change::refused(State::FailedNotSent, "NOT_SENT", true))
        }
        Answer::Absent if matches!(state, State::Sending | State::Unknown) => {
            Some(Change::refused(State::FailedNotSent, "NOT_SENT", true))
        }
        Answer::Unknown if state == State::Sending => Some(Change::to(State::Unknown)),
        Answer::NotSent | Answer::Absent | Answer::Unknown => None,
    }
}

/// What is to be done with a movement that was asked for and that the provider's book lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Ask once more with the same reference: the provider takes both for one.
    AskAgain,
    /// It never arrived and never will.
    NotSent,
}

/// How long before the window closes a request is not sent any more: it has to arrive within it.
const MARGIN: TimeDelta = TimeDelta::hours(1);

/// What the provider's book lacks, with a provider that takes two requests with one reference for one
/// during `window` from the first on (R4); `None` while nothing can be done or told.
///
/// A request may still be on its way, so that its absence proves nothing for now: asked again within
/// the window it can't move money twice. After it, it could. When the last request is older than the
/// window, none is on its way any more.
pub fn absent(asked_for: AskedFor, window: TimeDelta) -> Option<Absent> {
    if asked_for.first < window - MARGIN {
        Some(Absent::AskAgain)
    } else if window <= asked_for.last {
        Some(Absent::NotSent)
    } else {
        None
    }
}

/// How long ago a provider was asked for a movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedFor {
    /// For the first time.
    pub first: TimeDelta,
    /// For the last time.
    pub last: TimeDelta,
}

/// After how many seconds a movement is looked up again that was looked up `look_ups` times: 1, 3,
/// 12, 60, 720 and then 17,280 times `first`, for ever (R6: 5 s, 15 s, 1 min, 5 min, 1 h, 1 day).
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

/// The reference of a movement at its provider: the same for every retry, for a restored database
/// and a replayed saga; another one for each attempt (R3).
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
            (moved(KEY, 10_01, Currency::Usd), "AMOUNT_DIFFERS"),
            (moved(KEY, 10_00, Currency::Inr), "CURRENCY_DIFFERS"),
            (
                moved(Uuid::from_u128(8), 10_00, Currency::Usd),
                "REFERENCE_DIFFERS",
            ),
        ] {
            let change = after(State::Unknown, asked(), answer).unwrap();
            assert_eq!(
                (change.state, change.parked_reason, change.settled),
                (State::Parked, reason, None)
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
        // The provider may have forgotten the reference, and a request may still be on its way.
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
        /// Whatever comes in whatever order, a final state stays, and only a provider's word that
        /// exactly what was asked for has moved makes a success.
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
