//! Which credit pays: the order of lots, and what they do not cover.

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The kinds of credit, as the ledger numbers their accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LotKind {
    /// Given for a trial.
    Trial,
    /// Given by promotion or goodwill.
    Promo,
    /// Paid in.
    Paid,
}

/// Credit that can be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lot {
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: LotKind,
    /// Lots of a lower number are spent before all others; 0 unless it was said otherwise.
    pub priority: i16,
    /// What is left of it, in millionths, zero or more.
    pub remaining_micros: i64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when it can't be spent.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Lot {
    /// What can be spent of it at `now`: nothing once it has expired; validity is half-open (C-14).
    pub fn spendable_micros(&self, now: DateTime<Utc>) -> i64 {
        let valid = self.expires_at.is_none_or(|expiry| now < expiry);
        if valid { self.remaining_micros } else { 0 }
    }
}

/// What can be spent of `lots` at `now`, less `overdraft`: the balance.
pub fn balance(lots: &[Lot], overdraft: i64, now: DateTime<Utc>) -> i64 {
    let spendable = lots.iter().fold(0_i64, |sum, lot| {
        sum.saturating_add(lot.spendable_micros(now))
    });
    spendable.saturating_sub(overdraft)
}

/// What a lot pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payment {
    /// The lot.
    pub lot: Uuid,
    /// Its kind.
    pub kind: LotKind,
    /// How much, above zero.
    pub micros: i64,
}

/// Sorts `lots` into the order in which they are spent: by priority, then kind by the profile's
/// order, then the earliest expiry, then the oldest (C-14, D8). A kind that the order does not name
/// comes last.
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

/// More is to be voided than is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than is left of the lot")]
pub struct Overdrawn;

/// The lot without `micros` of it.
///
/// # Errors
/// `Overdrawn` when it has less: a void never makes a debt.
pub fn voided(lot: Lot, micros: i64) -> Result<Lot, Overdrawn> {
    if micros < 0 || lot.remaining_micros < micros {
        return Err(Overdrawn);
    }
    Ok(Lot {
        remaining_micros: lot.remaining_micros - micros,
        ..lot
    })
}

/// What each lot pays of `micros` at `now`, in the order given, and what none covers.
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
