//! Exact fractions, and the one place where they are rounded.

use std::cmp::Ordering;

/// An exact fraction in lowest terms, its denominator above zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ratio {
    numerator: i128,
    denominator: i128,
}

/// How an exact value becomes a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rounding {
    /// To the nearest; a tie goes away from zero (D10).
    HalfUp,
    /// To the nearest; a tie goes to the even neighbour.
    HalfEven,
    /// Towards zero: what is refunded.
    Down,
}

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self {
        numerator: 0,
        denominator: 1,
    };

    /// `numerator ÷ denominator`. `denominator` must be above zero.
    pub fn new(numerator: i128, denominator: i128) -> Self {
        debug_assert!(0 < denominator, "denominators are above zero");
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator.unsigned_abs());
        let divisor = i128::try_from(divisor).unwrap_or(1).max(1);
        Self {
            numerator: numerator / divisor,
            denominator: denominator / divisor,
        }
    }

    /// `whole ÷ 1`.
    pub const fn whole(whole: i128) -> Self {
        Self {
            numerator: whole,
            denominator: 1,
        }
    }

    /// The number above the line.
    pub const fn numerator(self) -> i128 {
        self.numerator
    }

    /// The number below the line, above zero.
    pub const fn denominator(self) -> i128 {
        self.denominator
    }

    /// `self × factor`; `None` when it leaves `i128`.
    pub fn times(self, factor: i128) -> Option<Self> {
        Some(Self::new(
            self.numerator.checked_mul(factor)?,
            self.denominator,
        ))
    }

    /// `self ÷ divisor`, `divisor` above zero; `None` when it leaves `i128`.
    pub fn over(self, divisor: i128) -> Option<Self> {
        Some(Self::new(
            self.numerator,
            self.denominator.checked_mul(divisor)?,
        ))
    }

    /// `self + other`; `None` when it leaves `i128`.
    pub fn plus(self, other: Self) -> Option<Self> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        let denominator = self.denominator.checked_mul(other.denominator)?;
        Some(Self::new(left.checked_add(right)?, denominator))
    }

    /// The greatest whole number that is not above it.
    pub const fn floor(self) -> i128 {
        self.numerator.div_euclid(self.denominator)
    }

    /// What `floor` leaves: at least zero and below one.
    #[must_use]
    pub fn fraction(self) -> Self {
        Self {
            numerator: self.numerator.rem_euclid(self.denominator),
            ..self
        }
    }

    /// The whole number nearest to it in the sense of `rounding`.
    pub fn rounded(self, rounding: Rounding) -> i128 {
        let toward_zero = self.numerator / self.denominator;
        let rest = (self.numerator % self.denominator).unsigned_abs();
        // Compared with what is missing to the next whole, so that nothing is doubled.
        let away = match rest.cmp(&(self.denominator.unsigned_abs() - rest)) {
            Ordering::Less => false,
            Ordering::Greater => rounding != Rounding::Down,
            Ordering::Equal => match rounding {
                Rounding::HalfUp => true,
                Rounding::HalfEven => toward_zero % 2 != 0,
                Rounding::Down => false,
            },
        };
        toward_zero + if away { self.numerator.signum() } else { 0 }
    }
}

impl PartialOrd for Ratio {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Exact for every pair: whole parts first, then the reciprocals of what is left, so that nothing
/// is multiplied and nothing can overflow.
impl Ord for Ratio {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.fraction(), other.fraction());
        self.floor()
            .cmp(&other.floor())
            .then_with(|| match (left.numerator, right.numerator) {
                (0, 0) => Ordering::Equal,
                (0, _) => Ordering::Less,
                (_, 0) => Ordering::Greater,
                (l, r) => {
                    let flipped = |ratio: Self, over| Self {
                        numerator: ratio.denominator,
                        denominator: over,
                    };
                    flipped(right, r).cmp(&flipped(left, l))
                }
            })
    }
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(numerator: i128, denominator: i128, half_up: i128, half_even: i128, down: i128) {
        let ratio = Ratio::new(numerator, denominator);
        let rounded =
            [Rounding::HalfUp, Rounding::HalfEven, Rounding::Down].map(|r| ratio.rounded(r));
        assert_eq!(
            rounded,
            [half_up, half_even, down],
            "{numerator}/{denominator}"
        );
    }

    #[test]
    fn ties_go_where_the_rounding_says() {
        check(5, 2, 3, 2, 2);
        check(7, 2, 4, 4, 3);
        check(-5, 2, -3, -2, -2);
        check(1, 3, 0, 0, 0);
        check(2, 3, 1, 1, 0);
        check(-2, 3, -1, -1, 0);
        check(0, 7, 0, 0, 0);
        check(14, 7, 2, 2, 2);
    }

    proptest! {
        #[test]
        fn order_is_that_of_cross_multiplication(a: i32, b in 1_i32.., c: i32, d in 1_i32..) {
            let (a, b, c, d) = (i128::from(a), i128::from(b), i128::from(c), i128::from(d));
            prop_assert_eq!(Ratio::new(a, b).cmp(&Ratio::new(c, d)), (a * d).cmp(&(c * b)));
        }

        #[test]
        fn rounding_moves_by_at_most_half(a: i64, b in 1_i64..) {
            let ratio = Ratio::new(i128::from(a), i128::from(b));
            let off = (ratio.rounded(Rounding::HalfUp) * i128::from(b) - i128::from(a)).abs();
            prop_assert!(2 * off <= i128::from(b));
        }
    }
}
