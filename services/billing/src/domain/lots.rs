//! Credit lots: the order in which they are spent, and what they do not cover.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The kinds of credit. Each has its own ledger account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LotKind {
    /// Granted for a trial.
    Trial,
    /// Granted as promotion or goodwill.
    Promo,
    /// Bought by the customer.
    Paid,
}

/// A lot: an amount of credit of one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: LotKind,
    /// Lots with a lower number are spent first; 0 by default.
    pub priority: i16,
    /// Unspent amount in millionths, zero or more.
    pub remaining_micros: i64,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Expiry time, exclusive; `None` if it never expires.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Lot {
    /// The spendable amount at `now`, in millionths; zero from the expiry time on (C-14).
    pub fn spendable_micros(&self, now: DateTime<Utc>) -> i64 {
        let valid = self.expires_at.is_none_or(|expiry| now < expiry);
        if valid { self.remaining_micros } else { 0 }
    }

    /// Whether it has expired by `now`.
    pub fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expiry| expiry <= now)
    }
}

/// The balance at `now`: the spendable amount of `lots` less `overdraft`, in millionths.
pub fn balance(lots: &[Lot], overdraft: i64, now: DateTime<Utc>) -> i64 {
    let spendable = lots.iter().fold(0_i64, |sum, lot| {
        sum.saturating_add(lot.spendable_micros(now))
    });
    spendable.saturating_sub(overdraft)
}

/// The payment from one lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// The lot.
    pub lot: Uuid,
    /// Its kind.
    pub kind: LotKind,
    /// Amount in millionths, above zero.
    pub micros: i64,
}

/// Sorts `lots` into spending order: by priority, then by kind in the profile's order, then earliest expiry, then
/// oldest (C-14, D8). A kind that the order does not name comes last.
pub fn sort(lots: &mut [Lot], order: &[LotKind]) {
    let place = |kind: LotKind| {
        order
            .iter()
            .position(|it| *it == kind)
            .unwrap_or(order.len())
    };
    lots.sort_by_key(|lot| {
        let expiry = lot.expires_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
        (
            lot.priority,
            place(lot.kind),
            expiry,
            lot.created_at,
            lot.id,
        )
    });
}

/// The amount to void exceeds what is left of the lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount exceeds what is left of the lot; void at most what is left")]
pub struct Overdrawn;

/// The lot after voiding `micros` of it.
///
/// # Errors
/// `Overdrawn` if it has less: a void never creates debt.
pub fn voided(lot: Lot, micros: i64) -> Result<Lot, Overdrawn> {
    if micros < 0 || lot.remaining_micros < micros {
        return Err(Overdrawn);
    }
    Ok(Lot {
        remaining_micros: lot.remaining_micros - micros,
        ..lot
    })
}

/// Splits a debit of `micros` at `now` over `lots` in the given order. Returns the payments and the amount that no
/// lot covers.
pub fn consume(lots: &[Lot], micros: i64, now: DateTime<Utc>) -> (Vec<Payment>, i64) {
    let mut left = micros.max(0);
    let mut payments = Vec::new();
    for lot in lots {
        let part = left.min(lot.spendable_micros(now));
        if 0 < part {
            payments.push(Payment {
                lot: lot.id,
                kind: lot.kind,
                micros: part,
            });
            left -= part;
        }
    }
    (payments, left)
}

/// An amount returned to a lot that had paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Back {
    /// The lot.
    pub lot: Uuid,
    /// Its kind.
    pub kind: LotKind,
    /// Amount in millionths, above zero.
    pub micros: i64,
    /// Whether the lot has expired. Its returned amount is forfeited, as it would have been at expiry.
    pub expired: bool,
}

/// Splits a credit of `micros` at `now` over the lots that had paid: the last spent first, expired lots last. Returns
/// the amounts per lot and the amount that no lot had paid. `spent` is in spending order, with the amount spent of
/// each lot in `remaining_micros`.
pub fn given_back(spent: &[Lot], micros: i64, now: DateTime<Utc>) -> (Vec<Back>, i64) {
    let (expired, valid): (Vec<&Lot>, Vec<&Lot>) =
        spent.iter().rev().partition(|lot| lot.has_expired(now));
    let mut left = micros.max(0);
    let mut back = Vec::new();
    for lot in valid.into_iter().chain(expired) {
        let part = left.min(lot.remaining_micros);
        if 0 < part {
            back.push(Back {
                lot: lot.id,
                kind: lot.kind,
                micros: part,
                expired: lot.has_expired(now),
            });
            left -= part;
        }
    }
    (back, left)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn lot(id: u128, kind: LotKind, micros: i64, created: i64, expires: Option<i64>) -> Lot {
        Lot {
            id: Uuid::from_u128(id),
            kind,
            priority: 0,
            remaining_micros: micros,
            created_at: at(created),
            expires_at: expires.map(at),
        }
    }

    #[test]
    fn trial_then_promo_by_expiry_then_paid_by_age() {
        let mut lots = [
            lot(1, LotKind::Paid, 50, 0, None),
            lot(2, LotKind::Paid, 50, 10, None),
            lot(3, LotKind::Promo, 20, 0, Some(900)),
            lot(4, LotKind::Promo, 20, 5, Some(500)),
            lot(5, LotKind::Trial, 10, 9, None),
        ];
        sort(&mut lots, &[LotKind::Trial, LotKind::Promo, LotKind::Paid]);
        let (payments, left) = consume(&lots, 110, at(100));
        let paid: Vec<_> = payments
            .iter()
            .map(|p| (p.lot.as_u128(), p.micros))
            .collect();
        assert_eq!(
            (paid, left),
            (vec![(5, 10), (4, 20), (3, 20), (1, 50), (2, 10)], 0)
        );
    }

    #[test]
    fn a_lot_pays_until_its_expiry_and_not_at_it() {
        let lots = [lot(1, LotKind::Promo, 100, 0, Some(100))];
        assert_eq!(consume(&lots, 10, at(99)).1, 0);
        assert_eq!(consume(&lots, 10, at(100)), (Vec::new(), 10));
    }

    #[test]
    fn what_comes_back_to_a_lot_that_has_expired_is_known_as_such_and_comes_last() {
        let spent = [
            lot(1, LotKind::Promo, 20, 0, Some(100)),
            lot(2, LotKind::Paid, 30, 0, None),
            lot(3, LotKind::Paid, 10, 5, None),
        ];
        let figures = |micros, now| {
            let (back, left) = given_back(&spent, micros, at(now));
            let back: Vec<_> = back
                .iter()
                .map(|it| (it.lot.as_u128(), it.micros, it.expired))
                .collect();
            (back, left)
        };
        assert_eq!(
            figures(55, 99),
            (vec![(3, 10, false), (2, 30, false), (1, 15, false)], 0)
        );
        assert_eq!(
            figures(65, 100),
            (vec![(3, 10, false), (2, 30, false), (1, 20, true)], 5)
        );
    }

    proptest! {
        #[test]
        fn payments_and_rest_are_what_was_asked(amounts in proptest::collection::vec(0_i64..1_000, 0..10), asked in 0_i64..10_000) {
            let lots: Vec<_> = amounts.iter().zip(1..).map(|(micros, id)| lot(id, LotKind::Paid, *micros, 0, None)).collect();
            let (payments, left) = consume(&lots, asked, at(0));
            let paid: i64 = payments.iter().map(|p| p.micros).sum();
            prop_assert_eq!(paid + left, asked);
            prop_assert!(left == 0 || paid == amounts.iter().sum::<i64>());
        }
    }
}
