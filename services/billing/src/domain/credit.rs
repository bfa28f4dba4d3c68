//! How much of an invoice may be credited or refunded.

use values::{Ratio, Rounding};

/// What may still be credited of `billed` after `credited`: at most `potential`, never negative,
/// never more than is left. All in one unit.
pub fn creditable(potential: i64, billed: i64, credited: i64) -> i64 {
    potential.min(billed.saturating_sub(credited)).max(0)
}

/// Splits a credit into what is refunded and what stays credit against the unpaid part: only money
/// really paid beyond what was used goes back.
pub fn refundable(paid: i64, used: i64, credit: i64) -> (i64, i64) {
    let refund = paid.saturating_sub(used).clamp(0, credit.max(0));
    (refund, credit.max(0) - refund)
}

/// What was earned by an invoice: without credit that the customer still has to spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earned {
    /// Without tax.
    pub net: i64,
    /// The tax on it.
    pub tax: i64,
}

impl Earned {
    /// Of lines of `earned` and of `credits`, with one `tax` on both: its share of it, half up. All in
    /// one unit, none negative.
    pub fn of(earned: i64, credits: i64, tax: i64) -> Self {
        let all = i128::from(earned) + i128::from(credits);
        let share = Ratio::new(i128::from(tax) * i128::from(earned), all.max(1));
        Self {
            net: earned,
            tax: i64::try_from(share.rounded(Rounding::HalfUp)).unwrap_or(tax),
        }
    }

    /// With tax.
    pub const fn total(self) -> i64 {
        self.net.saturating_add(self.tax)
    }

    /// The tax in the first `credited` of it: so that the parts of several credit notes add up.
    fn tax_in(self, credited: i64) -> i64 {
        let share = Ratio::new(
            i128::from(self.tax) * i128::from(credited),
            i128::from(self.total().max(1)),
        );
        i64::try_from(share.rounded(Rounding::HalfUp)).unwrap_or(self.tax)
    }
}

/// Where a credit comes from and goes: what was earned and its tax, against what is due or to the
/// balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Split {
    /// Of what was earned, against what is due.
    pub net_due: i64,
    /// Of its tax, against what is due.
    pub tax_due: i64,
    /// Of what was earned, to the balance.
    pub net_balance: i64,
    /// Of its tax, to the balance.
    pub tax_balance: i64,
}

/// Splits the credit of `amount`, after `credited` before: what is due is credited first.
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
        assert_eq!(refundable(75, 60, 30), (15, 15));
        assert_eq!(refundable(90, 60, 30), (30, 0));
        assert_eq!(refundable(50, 60, 30), (0, 30));
    }
}
