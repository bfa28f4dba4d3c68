//! Prices of plans that are paid in advance.

use values::{Money, MoneyError, Ratio, Rounding};

use super::catalogue::Cycle;

/// The price of a billing cycle: its months × the monthly minimum, less the discount (C-25). Rounded once, half up, to
/// the minor unit.
///
/// # Errors
/// `OutOfRange` if the result exceeds the range of money.
pub fn of_cycle(monthly_minimum: Money, cycle: Cycle) -> Result<Money, MoneyError> {
    let kept = 10_000 - i128::from(cycle.discount_bps);
    let months = i128::from(cycle.months);
    monthly_minimum.scaled(Ratio::new(months * kept, 10_000), Rounding::HalfUp)
}

/// The prorated difference that a change to a more expensive plan costs at once: (`to` − `from`) × `left` ÷ `whole`
/// days of the present cycle (C-01), rounded once, half up. `None` for a plan that is not more expensive.
///
/// # Errors
/// `OutOfRange` if the result exceeds the range of money.
pub fn difference(
    from: Money,
    to: Money,
    (left, whole): (i64, i64),
) -> Result<Option<Money>, MoneyError> {
    let more = to.plus(from.negated()?)?;
    if more.minor() <= 0 || left <= 0 || whole < left {
        return Ok(None);
    }
    let share = Ratio::new(i128::from(left), i128::from(whole));
    Ok(Some(more.scaled(share, Rounding::HalfUp)?).filter(|it| 0 < it.minor()))
}

/// The formula of [`of_cycle`] as text.
pub fn cycle_formula(monthly_minimum: Money, cycle: Cycle) -> String {
    let months = match cycle.months {
        1 => "1 month".to_owned(),
        months => format!("{months} months"),
    };
    let less = match cycle.discount_bps {
        0 => String::new(),
        bps => format!(" less {}.{:02}%", bps / 100, bps % 100),
    };
    format!("{months} at {monthly_minimum}{less}")
}

/// The formula of [`difference`] as text.
pub fn difference_formula(from: Money, to: Money, (left, whole): (i64, i64)) -> String {
    format!("{left} of {whole} days of {to} less {from}")
}

#[cfg(test)]
mod tests {
    use values::Currency;

    use super::*;

    fn rupees(minor: i64) -> Money {
        Money::from_minor(minor, Currency::Inr)
    }

    #[test]
    fn req_097_req_098_req_099_a_longer_cycle_costs_its_months_less_its_discount() {
        let price = |months, discount_bps| {
            let cycle = Cycle {
                months,
                discount_bps,
            };
            of_cycle(rupees(200_000), cycle).map(Money::minor)
        };
        assert_eq!(price(1, 0), Ok(200_000));
        assert_eq!(price(3, 500), Ok(570_000));
        assert_eq!(price(12, 1_500), Ok(2_040_000));
        let words = |months, discount_bps| {
            let cycle = Cycle {
                months,
                discount_bps,
            };
            cycle_formula(rupees(200_000), cycle)
        };
        assert_eq!(words(1, 0), "1 month at 2000.00");
        assert_eq!(words(12, 1_550), "12 months at 2000.00 less 15.50%");
    }

    #[test]
    fn a_dearer_plan_costs_its_difference_for_the_days_that_are_left() {
        let due = |from, to, days| difference(rupees(from), rupees(to), days);
        assert_eq!(due(200_000, 1_000_000, (25, 30)), Ok(Some(rupees(666_667))));
        assert_eq!(due(1_000_000, 200_000, (25, 30)), Ok(None));
        assert_eq!(due(200_000, 1_000_000, (0, 30)), Ok(None));
    }
}
