//! How much of an invoice may be credited or refunded.

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

#[cfg(test)]
mod tests {
    use super::*;

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
