//! What a closing refunds, until when, and when the data goes.

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;
use values::{Amount, Money, Ratio, Rounding};

/// The refund of what is left of paid credit: less a fee in basis points, rounded down to what is
/// payable; nothing at all below `minimum`, or when nothing is left (C-13, REQ-066).
pub fn on_closing(paid: Amount, fee_bps: i64, minimum: Money) -> Option<Money> {
    let whole = paid.rounded(Rounding::Down);
    let refund = less_fee(whole, fee_bps)?;
    (0 < refund.minor() && minimum.minor() <= whole.minor()).then_some(refund)
}

fn less_fee(whole: Money, fee_bps: i64) -> Option<Money> {
    let kept = Ratio::new(i128::from(10_000 - fee_bps), 10_000);
    whole.scaled(kept, Rounding::Down).ok()
}

/// Paid credit and the charge that it came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paid {
    /// The lot.
    pub lot: Uuid,
    /// The charge.
    pub charge: Uuid,
    /// What is left of the lot, in millionths.
    pub left_micros: i64,
    /// The tax that the charge paid, in minor units.
    pub tax_minor: i64,
    /// What it paid without tax, in minor units.
    pub net_minor: i64,
}

/// What goes back to one charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The lot that it is taken from.
    pub lot: Uuid,
    /// The charge that it goes back to.
    pub charge: Uuid,
    /// What is taken from the lot, in millionths: refund, fee, and what can't be paid out.
    pub taken_micros: i64,
    /// What goes back, without tax.
    pub refund: Money,
    /// The fee that is kept.
    pub fee: Money,
    /// The tax that goes back with it.
    pub tax: Money,
}

/// What goes back of paid credit, in the order of `paid`, at most `most_micros` of it: each part less a
/// fee in basis points, rounded down to what is payable, with its share of the tax where that goes back
/// (REQ-122). Nothing at all below `minimum`.
pub fn parts(
    paid: &[Paid],
    most_micros: Option<i64>,
    (fee_bps, with_tax): (i64, bool),
    minimum: Money,
) -> Vec<Part> {
    let currency = minimum.currency();
    let mut left = most_micros.unwrap_or(i64::MAX);
    let mut parts = Vec::new();
    let mut whole_minor = 0_i64;
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
        whole_minor = whole_minor.saturating_add(whole.minor());
        parts.push(Part {
            lot: it.lot,
            charge: it.charge,
            taken_micros,
            refund,
            fee: Money::from_minor(whole.minor() - refund.minor(), currency),
            tax: tax.unwrap_or(Money::from_minor(0, currency)),
        });
    }
    if whole_minor < minimum.minor() {
        parts.clear();
    }
    parts
}

/// When the data of a closed account go: whole days of 24 hours after the closing (REQ-047).
pub fn purge_at(closed_at: DateTime<Utc>, days: i64) -> Option<DateTime<Utc>> {
    closed_at.checked_add_signed(TimeDelta::try_days(days)?)
}

#[cfg(test)]
mod tests {
    use values::Currency;

    use super::*;

    #[test]
    fn req_122_the_newest_payment_is_refunded_first_less_the_fee_and_with_its_tax() {
        let paid = |n: u128, left_micros: i64| Paid {
            lot: Uuid::from_u128(n),
            charge: Uuid::from_u128(n + 100),
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
        // Two payments together reach the minimum; what is no minor unit is taken and not paid out.
        assert_eq!(
            figures(&[paid(2, 600_005_000), paid(1, 600_000_000)], None, false),
            [
                (600_005_000, 570_00, 30_00, 0),
                (600_000_000, 570_00, 30_00, 0)
            ]
        );
        // No more than was asked for, newest first.
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
        let amount = |text| Amount::parse(text, Currency::Inr).unwrap();
        let minimum = Money::from_minor(1000_00, Currency::Inr);
        let minor = |text| on_closing(amount(text), 500, minimum).map(Money::minor);
        assert_eq!(minor("3000.00"), Some(2850_00));
        assert_eq!(minor("900.00"), None);
        assert_eq!(minor("-12.00"), None);
        let cent = Money::from_minor(1, Currency::Inr);
        assert_eq!(
            on_closing(amount("123.456789"), 0, cent).map(Money::minor),
            Some(123_45)
        );
    }
}
