//! Refunds of paid credit: the states of a refund, and the parts of what is refunded.

use uuid::Uuid;
use values::{Amount, Money, Ratio, Rounding};

words! {
    /// State of a refund.
    State {
        /// Stored; `payments` is being asked, or will be.
        Created = "CREATED",
        /// With `payments` and its provider.
        Processing = "PROCESSING",
        /// The attempt failed, and the next one is due later.
        Retrying = "RETRYING",
        /// A person pays it out, by bank transfer, or decides.
        NeedsManual = "NEEDS_MANUAL",
        /// Paid out.
        Succeeded = "SUCCEEDED",
        /// Cancelled before it was paid out, or returned in part: the rest is the customer's credit again.
        Undone = "UNDONE",
    }
}

impl State {
    /// Whether `payments` has not accepted its current attempt, so that it can be cancelled here.
    pub const fn is_waiting(self) -> bool {
        match self {
            Self::Created | Self::Retrying => true,
            Self::Processing | Self::NeedsManual | Self::Succeeded | Self::Undone => false,
        }
    }

    /// Whether it was paid out or cancelled.
    pub const fn is_decided(self) -> bool {
        match self {
            Self::Succeeded | Self::Undone => true,
            Self::Created | Self::Processing | Self::Retrying | Self::NeedsManual => false,
        }
    }
}

/// What happens to a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `payments` works on it.
    Submitted,
    /// It waits for an operator of `payments`.
    Parked,
    /// It was paid out.
    PaidOut,
    /// The provider definitely refused the attempt; another follows.
    Failed,
    /// `payments` refused to begin the attempt; it is made again later, or in another way.
    Refused,
    /// `payments` refused to begin the attempt for a reason that doesn't pass by itself.
    RefusedForGood,
    /// The whole amount came back after it had been paid out.
    Returned,
    /// Part of the amount came back after it had been paid out.
    ReturnedInPart,
    /// The payer gets the money by a dispute of the charge.
    Cancelled,
}

/// The state of a refund after an event; `None` if the event changes nothing.
///
/// - What was cancelled stays so. What was paid out stays so unless the provider returns the money.
/// - A refund that a person handles leaves that state only with a definite outcome.
/// - Only an attempt that `payments` has not accepted is refused or cancelled.
pub const fn after(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Succeeded, Event::Returned)
        | (State::Created | State::Retrying, Event::Refused) => Some(State::Retrying),
        (State::Succeeded, Event::ReturnedInPart)
        | (State::Created | State::Retrying, Event::Cancelled) => Some(State::Undone),
        (State::Created | State::Retrying, Event::RefusedForGood) => Some(State::NeedsManual),
        (State::Succeeded | State::Undone, _)
        | (State::NeedsManual, Event::Submitted | Event::Parked)
        | (
            _,
            Event::Returned
            | Event::ReturnedInPart
            | Event::Refused
            | Event::RefusedForGood
            | Event::Cancelled,
        ) => None,
        (_, Event::Submitted) => Some(State::Processing),
        (_, Event::Parked) => Some(State::NeedsManual),
        (_, Event::PaidOut) => Some(State::Succeeded),
        (_, Event::Failed) => Some(State::Retrying),
    }
}

fn less_fee(whole: Money, fee_bps: i64) -> Option<Money> {
    let kept = Ratio::new(i128::from(10_000 - fee_bps), 10_000);
    whole.scaled(kept, Rounding::Down).ok()
}

/// A lot of paid credit and the charge that paid for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// The lot.
    pub lot: Uuid,
    /// The charge; `None` if there is none, such as for a wire transfer recorded by an operator.
    pub charge: Option<Uuid>,
    /// Unspent amount of the lot in millionths.
    pub left_micros: i64,
    /// Tax in the charge, in minor units.
    pub tax_minor: i64,
    /// Net amount of the charge, in minor units.
    pub net_minor: i64,
}

/// The refund to one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The lot it is taken from.
    pub lot: Uuid,
    /// The charge it is refunded to; `None` for a bank transfer.
    pub charge: Option<Uuid>,
    /// Amount taken from the lot in millionths: refund, fee and the fraction below a minor unit.
    pub taken_micros: i64,
    /// The net amount refunded.
    pub refund: Money,
    /// The fee withheld.
    pub fee: Money,
    /// The tax refunded with it.
    pub tax: Money,
}

/// Splits a refund over `paid` in the given order, up to `most_micros`. Each part is reduced by a fee in basis points
/// and rounded down to minor units; its share of the tax is added if `with_tax` (REQ-122). Returns no parts if less
/// than `minimum` would be paid out after the fee and without tax (D32).
pub fn parts(
    paid: &[Paid],
    most_micros: Option<i64>,
    (fee_bps, with_tax): (i64, bool),
    minimum: Money,
) -> Vec<Part> {
    let currency = minimum.currency();
    let mut left = most_micros.unwrap_or(i64::MAX);
    let mut parts = Vec::new();
    let mut paid_out_minor = 0_i64;
    for it in paid {
        let taken_micros = it.left_micros.min(left);
        let whole = Amount::from_micros(taken_micros, currency).rounded(Rounding::Down);
        let Some(refund) = less_fee(whole, fee_bps).filter(|refund| 0 < refund.minor()) else {
            continue;
        };
        let share = Ratio::new(i128::from(it.tax_minor), i128::from(it.net_minor.max(1)));
        let tax = if with_tax {
            refund.scaled(share, Rounding::Down).ok()
        } else {
            None
        };
        left -= taken_micros;
        paid_out_minor = paid_out_minor.saturating_add(refund.minor());
        parts.push(Part {
            lot: it.lot,
            charge: it.charge,
            taken_micros,
            refund,
            fee: Money::from_minor(whole.minor() - refund.minor(), currency),
            tax: tax.unwrap_or(Money::from_minor(0, currency)),
        });
    }
    if paid_out_minor < minimum.minor() {
        parts.clear();
    }
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use values::Currency;

    use super::*;

    const EVENTS: &[Event] = &[
        Event::Submitted,
        Event::Parked,
        Event::PaidOut,
        Event::Failed,
        Event::Refused,
        Event::RefusedForGood,
        Event::Cancelled,
        Event::Returned,
        Event::ReturnedInPart,
    ];

    #[test]
    fn what_each_event_makes_of_each_state() {
        use State::{Created, NeedsManual, Processing, Retrying, Succeeded, Undone};
        let waiting = [
            Some(Processing),
            Some(NeedsManual),
            Some(Succeeded),
            Some(Retrying),
            Some(Retrying),
            Some(NeedsManual),
            Some(Undone),
            None,
            None,
        ];
        let paid_out = [
            None,
            None,
            None,
            None,
            None,
            None,
            None,
            Some(Retrying),
            Some(Undone),
        ];
        let (moved, failed) = (Some(Succeeded), Some(Retrying));
        let (submitted, parked) = (Some(Processing), Some(NeedsManual));
        let processing = [
            submitted, parked, moved, failed, None, None, None, None, None,
        ];
        let manual = [None, None, moved, failed, None, None, None, None, None];
        for (state, expected) in [
            (Created, waiting),
            (Retrying, waiting),
            (Processing, processing),
            (NeedsManual, manual),
            (Succeeded, paid_out),
            (Undone, [None; 9]),
        ] {
            for (event, expected) in EVENTS.iter().zip(expected) {
                assert_eq!(after(state, *event), expected, "{state:?} {event:?}");
            }
        }
    }

    proptest! {
        /// Whatever the order of events, what was cancelled stays so, and what was paid out is paid again only after the
        /// money came back.
        #[test]
        fn no_event_pays_twice(events in proptest::collection::vec(select(EVENTS), 0..16)) {
            let mut state = State::Created;
            let mut out = 0;
            for event in events {
                if let Some(next) = after(state, event) {
                    prop_assert!(state != State::Undone);
                    match event {
                        Event::PaidOut => out += 1,
                        Event::Returned | Event::ReturnedInPart => out -= 1,
                        Event::Submitted
                        | Event::Parked
                        | Event::Failed
                        | Event::Refused
                        | Event::RefusedForGood
                        | Event::Cancelled => {}
                    }
                    state = next;
                }
                prop_assert!(out == i32::from(state == State::Succeeded));
            }
        }
    }

    #[test]
    fn req_122_the_newest_payment_is_refunded_first_less_the_fee_and_with_its_tax() {
        let paid = |n: u128, left_micros: i64| Paid {
            lot: Uuid::from_u128(n),
            charge: Some(Uuid::from_u128(n + 100)),
            left_micros,
            tax_minor: 900_00,
            net_minor: 5_000_00,
        };
        let minimum = Money::from_minor(1_000_00, Currency::Inr);
        let figures = |left: &[Paid], most, with_tax| -> Vec<(i64, i64, i64, i64)> {
            parts(left, most, (500, with_tax), minimum)
                .iter()
                .map(|it| {
                    let (refund, fee, tax) = (it.refund.minor(), it.fee.minor(), it.tax.minor());
                    (it.taken_micros, refund, fee, tax)
                })
                .collect()
        };
        assert_eq!(
            figures(&[paid(1, 3_000_000_000)], None, true),
            [(3_000_000_000, 2_850_00, 150_00, 513_00)]
        );
        assert_eq!(figures(&[paid(1, 900_000_000)], None, true), []);
        // Two payments together reach the minimum; a fraction below a minor unit is taken and not paid out.
        assert_eq!(
            figures(&[paid(2, 600_005_000), paid(1, 600_000_000)], None, false),
            [
                (600_005_000, 570_00, 30_00, 0),
                (600_000_000, 570_00, 30_00, 0)
            ]
        );
        // At most the requested amount is refunded, newest payment first.
        let asked = Some(1_500_000_000);
        assert_eq!(
            figures(
                &[paid(2, 1_000_000_000), paid(1, 3_000_000_000)],
                asked,
                false
            ),
            [
                (1_000_000_000, 950_00, 50_00, 0),
                (500_000_000, 475_00, 25_00, 0)
            ]
        );
    }

    #[test]
    fn refunds_lose_the_fee_and_nothing_is_paid_below_the_minimum() {
        let paid_out = |text: &str, fee_bps, minimum: i64| {
            let left = Amount::parse(text, Currency::Inr).unwrap();
            let paid = Paid {
                lot: Uuid::from_u128(1),
                charge: None,
                left_micros: left.micros(),
                tax_minor: 0,
                net_minor: 0,
            };
            let minimum = Money::from_minor(minimum, Currency::Inr);
            let parts = parts(&[paid], None, (fee_bps, false), minimum);
            parts.first().map(|it| it.refund.minor())
        };
        let minor = |text| paid_out(text, 500, 1000_00);
        assert_eq!(minor("3000.00"), Some(2850_00));
        assert_eq!(minor("900.00"), None);
        assert_eq!(minor("-12.00"), None);
        // The payouts would be 950.00, and 480.00 of 600.00 after a fee of 20 %.
        assert_eq!(minor("1000.00"), None);
        assert_eq!(minor("1052.64"), Some(1000_00));
        assert_eq!(paid_out("600.00", 2000, 500_00), None);
        assert_eq!(paid_out("123.456789", 0, 1), Some(123_45));
    }
}
