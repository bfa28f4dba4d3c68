//! Explanation of an invoice line in words and figures, so that anyone can recompute it (REQ-011).

use values::{Amount, Currency, Money, Ratio, Rounding};

use super::charge::Charge;

/// The inputs and the result of a line.
#[derive(Debug, Clone, Copy)]
pub struct Computed<'a> {
    /// The pricing model.
    pub charge: &'a Charge,
    /// The currency.
    pub currency: Currency,
    /// Usage that percentages apply to, in millionths.
    pub base_micros: i64,
    /// The whole month's charge, in exact minor units.
    pub monthly_total: Ratio,
    /// Days billed.
    pub active_days: i64,
    /// Days in the month.
    pub days_in_month: i64,
    /// The amount in minor units.
    pub minor: i64,
}

/// The whole month's charge rounded to six decimal places, for display.
pub fn total_amount(monthly_total: Ratio, currency: Currency) -> Amount {
    let micros = monthly_total
        .times(i128::from(currency.micros_per_minor()))
        .map_or(0, |it| it.rounded(Rounding::HalfUp));
    Amount::from_micros(i64::try_from(micros).unwrap_or(i64::MAX), currency)
}

/// The computation of a line in words: "6% of usage, at least 1500.00 on usage of 40000.00 = 2400.00; 2400.00 × 16/30
/// days = 1280.00".
pub fn in_words(line: &Computed<'_>) -> String {
    let total = total_amount(line.monthly_total, line.currency);
    let money = Money::from_minor(line.minor, line.currency);
    let days = format!(
        "{total:#} × {}/{} days = {money}",
        line.active_days, line.days_in_month
    );
    match line.charge {
        Charge::Free => format!(
            "free for {} of {} days",
            line.active_days, line.days_in_month
        ),
        Charge::Flat { .. } => days,
        Charge::Percent { .. } => {
            let base = Amount::from_micros(line.base_micros, line.currency);
            format!(
                "{} on usage of {base:#} = {total:#}; {days}",
                line.charge.in_words(line.currency)
            )
        }
    }
}

/// The name of a rounding mode.
pub const fn rounding_name(rounding: Rounding) -> &'static str {
    match rounding {
        Rounding::HalfUp => "HALF_UP",
        Rounding::HalfEven => "HALF_EVEN",
        Rounding::Down => "DOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::charge::Tier;

    #[test]
    fn a_line_says_how_it_came_about() {
        let charge = Charge::Percent {
            tiers: vec![Tier {
                up_to_micros: None,
                rate_bps: 600,
            }],
            minimum_minor: 1500_00,
            maximum_minor: None,
        };
        let line = Computed {
            charge: &charge,
            currency: Currency::Usd,
            base_micros: 40_000_000_000,
            monthly_total: Ratio::whole(2400_00),
            active_days: 16,
            days_in_month: 30,
            minor: 1280_00,
        };
        assert_eq!(
            in_words(&line),
            "6% of usage, at least 1500.00 on usage of 40000.00 = 2400.00; 2400.00 × 16/30 days = 1280.00"
        );
    }
}
