//! What a closing refunds, until when, and when the data goes.

use chrono::{DateTime, TimeDelta, Utc};
use values::{Amount, Money, Ratio, Rounding};

/// The refund of what is left of paid credit: less a fee in basis points, rounded down to what is
/// payable; nothing at all below `minimum`, or when nothing is left (C-13, REQ-066).
pub fn on_closing(paid: Amount, fee_bps: i64, minimum: Money) -> Option<Money> {
    let whole = paid.rounded(Rounding::Down);
    let kept = Ratio::new(i128::from(10_000 - fee_bps), 10_000);
    let refund = whole.scaled(kept, Rounding::Down).ok()?;
    (0 < refund.minor() && minimum.minor() <= whole.minor()).then_some(refund)
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
