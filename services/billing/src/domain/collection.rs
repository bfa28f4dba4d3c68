//! Collections: what an amount is collected for, and the states of an attempt to collect it.

words! {
    /// What a collection is for. It decides who is present when it is charged, and what follows from its outcome.
    Purpose {
        /// An order of the customer.
        Order = "ORDER",
        /// A top-up of the balance by auto-recharge.
        Recharge = "RECHARGE",
        /// A cycle of a plan that is paid in advance.
        Renewal = "RENEWAL",
        /// An open invoice.
        Invoice = "INVOICE",
        /// The month's usage of an account that pays by invoice. It is never charged; an open invoice is issued for it.
        Usage = "USAGE",
    }
}

words! {
    /// What a line of a collection pays for. It decides how the line is posted.
    LineKind {
        /// Prepaid credit, which becomes a lot of paid credit.
        Credits = "CREDITS",
        /// A cycle of a plan, or the rest of one, which is revenue.
        Subscription = "SUBSCRIPTION",
        /// Usage that was debited without credit to pay it: its revenue is recognised already.
        Usage = "USAGE",
        /// The amount due of an open invoice, which includes its taxes.
        Invoice = "INVOICE",
    }
}

impl LineKind {
    /// The kind of an order's line with this code. `None` if no order sells it: usage and invoices are billed by
    /// `billing` itself, and credit of other kinds is granted (D40).
    pub fn sold(code: &str) -> Option<Self> {
        [Self::Credits, Self::Subscription]
            .into_iter()
            .find(|kind| kind.as_str() == code)
    }
}

words! {
    /// State of a collection's current attempt.
    State {
        /// Stored; `payments` has not answered yet.
        Created = "CREATED",
        /// Charged, and not decided: the provider works on it, or the customer must confirm it.
        Pending = "PENDING",
        /// Accepted by the provider; the money arrives later, without anybody's doing.
        AwaitingSettlement = "AWAITING_SETTLEMENT",
        /// The provider was asked and gave no definite answer.
        Unknown = "UNKNOWN",
        /// The charge waits for an operator.
        Parked = "PARKED",
        /// The requested amount has arrived and is posted.
        Succeeded = "SUCCEEDED",
        /// The attempt ended without payment. It can be followed by another.
        Declined = "DECLINED",
        /// An open invoice was issued instead of a charge.
        Invoiced = "INVOICED",
    }
}

impl State {
    /// Whether the attempt has ended: paid, declined or invoiced.
    pub const fn is_decided(self) -> bool {
        match self {
            Self::Succeeded | Self::Declined | Self::Invoiced => true,
            Self::Created
            | Self::Pending
            | Self::AwaitingSettlement
            | Self::Unknown
            | Self::Parked => false,
        }
    }
}

/// What happens to a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Another attempt begins.
    Retried,
    /// An open invoice is issued instead of a charge.
    Invoiced,
    /// The charge is under way.
    Submitted,
    /// The charge is accepted and settles later.
    Accepted,
    /// The provider gave no definite answer.
    Unanswered,
    /// The charge waits for an operator.
    Parked,
    /// The requested amount has arrived.
    Paid,
    /// Another amount than requested has arrived. It becomes credit, and what it was to pay stays unpaid.
    PaidOtherwise,
    /// The charge was refused, by `payments` or by the provider.
    Refused,
}

/// The state of a collection after an event; `None` if the event changes nothing.
///
/// - Only a declined collection is tried again, and only one that nobody has charged is invoiced instead.
/// - What is paid or invoiced stays so. Money that arrives for a declined attempt is credit, and the attempt stays
///   declined.
/// - A charge that waits for an operator leaves that state only with a definite outcome.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Declined, Event::Retried) => Some(State::Created),
        (State::Created, Event::Invoiced) => Some(State::Invoiced),
        (State::Succeeded | State::Declined | State::Invoiced, _)
        | (_, Event::Retried | Event::Invoiced)
        | (State::Parked, Event::Submitted | Event::Accepted | Event::Unanswered | Event::Parked) => {
            None
        }
        (_, Event::Submitted) => Some(State::Pending),
        (_, Event::Accepted) => Some(State::AwaitingSettlement),
        (_, Event::Unanswered) => Some(State::Unknown),
        (_, Event::Parked) => Some(State::Parked),
        (_, Event::Paid) => Some(State::Succeeded),
        (_, Event::PaidOtherwise | Event::Refused) => Some(State::Declined),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    const EVENTS: &[Event] = &[
        Event::Retried,
        Event::Invoiced,
        Event::Submitted,
        Event::Accepted,
        Event::Unanswered,
        Event::Parked,
        Event::Paid,
        Event::PaidOtherwise,
        Event::Refused,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{
            AwaitingSettlement, Created, Declined, Invoiced, Parked, Pending, Succeeded, Unknown,
        };
        let open = [
            Some(Pending),
            Some(AwaitingSettlement),
            Some(Unknown),
            Some(Parked),
            Some(Succeeded),
            Some(Declined),
            Some(Declined),
        ];
        let decided = [None; 7];
        let parked = [
            None,
            None,
            None,
            None,
            Some(Succeeded),
            Some(Declined),
            Some(Declined),
        ];
        for (state, retried, invoiced, reports) in [
            (Created, None, Some(Invoiced), open),
            (Pending, None, None, open),
            (AwaitingSettlement, None, None, open),
            (Unknown, None, None, open),
            (Parked, None, None, parked),
            (Succeeded, None, None, decided),
            (Declined, Some(Created), None, decided),
            (Invoiced, None, None, decided),
        ] {
            let expected = [retried, invoiced].into_iter().chain(reports);
            for (event, expected) in EVENTS.iter().zip(expected) {
                assert_eq!(after(state, *event), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn d40_an_order_sells_credit_and_plans() {
        assert_eq!(LineKind::sold("CREDITS"), Some(LineKind::Credits));
        assert_eq!(LineKind::sold("SUBSCRIPTION"), Some(LineKind::Subscription));
        for code in ["USAGE", "INVOICE", "TRIAL", "PROMO", "credits", ""] {
            assert_eq!(LineKind::sold(code), None, "{code}");
        }
    }

    proptest! {
        /// Whatever the order of events, what is paid or invoiced stays so, and a declined attempt is followed only by
        /// another attempt.
        #[test]
        fn no_event_undoes_a_payment(
            events in proptest::collection::vec(select(EVENTS), 0..16)
        ) {
            let mut state = State::Created;
            for event in events {
                if let Some(next) = after(state, event) {
                    prop_assert!(!matches!(state, State::Succeeded | State::Invoiced));
                    prop_assert_eq!(state == State::Declined, event == Event::Retried);
                    state = next;
                }
            }
        }
    }
}
