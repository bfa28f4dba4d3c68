//! How much of an invoice may be credited or refunded, and how a credit splits into net and tax.

use values::{Ratio, Rounding};

/// The amount that may still be credited: at most `potential`, never negative, and never more than `billed` less
/// `credited`. All amounts are in one unit.
pub fn creditable(potential: i64, billed: i64, credited: i64) -> i64 {
    potential.min(billed.saturating_sub(credited)).max(0)
}

/// The revenue and tax of an invoice, without the credit bought with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earned {
    /// The revenue, without tax.
    pub net: i64,
    /// The tax on it.
    pub tax: i64,
}

impl Earned {
    /// Computes the revenue and its share of the tax, rounded half up, for lines of `earned` and `credits` that share
    /// one `tax`. All amounts are in one unit, none negative.
    pub fn of(earned: i64, credits: i64, tax: i64) -> Self {
        let all = i128::from(earned) + i128::from(credits);
        let share = Ratio::new(i128::from(tax) * i128::from(earned), all.max(1));
        Self {
            net: earned,
            tax: i64::try_from(share.rounded(Rounding::HalfUp)).unwrap_or(tax),
        }
    }

    /// Revenue and tax.
    pub const fn total(self) -> i64 {
        self.net.saturating_add(self.tax)
    }

    /// The tax contained in the first `credited` of the total. Taking differences of it makes the tax of several
    /// credit notes add up.
    fn tax_in(self, credited: i64) -> i64 {
        let share = Ratio::new(
            i128::from(self.tax) * i128::from(credited),
            i128::from(self.total().max(1)),
        );
        i64::try_from(share.rounded(Rounding::HalfUp)).unwrap_or(self.tax)
    }
}

/// How a credit splits into revenue and tax, and between the amount due and the balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Revenue credited against the amount due.
    pub net_due: i64,
    /// Tax credited against the amount due.
    pub tax_due: i64,
    /// Revenue credited to the balance.
    pub net_balance: i64,
    /// Tax credited to the balance.
    pub tax_balance: i64,
}

/// Splits a credit of `amount` after `credited` was credited before. The amount due is reduced first.
pub fn split(earned: Earned, credited: i64, amount: i64, due: i64) -> Split {
    let tax = earned.tax_in(credited.saturating_add(amount)) - earned.tax_in(credited);
    let net = amount - tax;
    let net_due = net.min(due);
    let tax_due = tax.min(due - net_due);
    Split {
        net_due,
        tax_due,
        net_balance: net - net_due,
        tax_balance: tax - tax_due,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tax_of_several_credit_notes_adds_up_and_what_is_due_goes_first() {
        let earned = Earned::of(2_000_00, 1_000_00, 540_00);
        assert_eq!((earned.net, earned.tax), (2_000_00, 360_00));
        let first = split(earned, 0, 100_01, 0);
        let rest = split(earned, 100_01, earned.total() - 100_01, 0);
        assert_eq!(first.tax_balance + rest.tax_balance, 360_00);
        assert_eq!(first.net_balance + rest.net_balance, 2_000_00);
        let open = split(Earned::of(100, 0, 0), 0, 60, 40);
        assert_eq!((open.net_due, open.net_balance), (40, 20));
        assert_eq!((open.tax_due, open.tax_balance), (0, 0));
    }

    #[test]
    fn a_credit_never_exceeds_what_is_left_of_what_was_billed() {
        let cases = [
            (100, 200, 50, 100),
            (300, 200, 50, 150),
            (100, 200, 180, 20),
            (100, 200, 200, 0),
            (100, 200, 250, 0),
        ];
        for (potential, billed, credited, expected) in cases {
            assert_eq!(creditable(potential, billed, credited), expected);
        }
        // Only the part that was paid goes to the balance; the rest reduces the amount due.
        for (paid, back, against_due) in [(75, 15, 15), (90, 30, 0), (50, 0, 30)] {
            let parts = split(Earned::of(90, 0, 0), 0, 30, 90 - paid);
            assert_eq!((parts.net_balance, parts.net_due), (back, against_due));
        }
    }
}
