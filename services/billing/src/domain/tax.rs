//! Tax on what is payable: apart from credits, rounded once.

use values::{Money, MoneyError, Ratio, Rounding};

/// The tax of `rate_bps` basis points on `net`, half up to the minor unit.
///
/// # Errors
/// `OutOfRange`.
pub fn tax(net: Money, rate_bps: i64) -> Result<Money, MoneyError> {
    net.scaled(Ratio::new(i128::from(rate_bps), 10_000), Rounding::HalfUp)
}

/// Splits a tax into two equal parts that add up, the first at most one minor unit larger: central
/// and state tax within one state.
///
/// # Errors
/// `OutOfRange`.
pub fn halves(tax: Money) -> Result<(Money, Money), MoneyError> {
    let first = tax.scaled(Ratio::new(1, 2), Rounding::HalfUp)?;
    Ok((first, tax.plus(first.negated()?)?))
}

#[cfg(test)]
mod tests {
    use values::Currency;

    use super::*;

    #[test]
    fn tax_is_rounded_once_and_its_halves_add_up() {
        let net = Money::from_minor(10_000_00, Currency::Inr);
        let whole = tax(net, 1800).unwrap();
        assert_eq!(whole.minor(), 1_800_00);
        assert_eq!(
            halves(whole).map(|(a, b)| (a.minor(), b.minor())),
            Ok((900_00, 900_00))
        );
        assert_eq!(
            halves(Money::from_minor(5, Currency::Inr)).map(|(a, b)| (a.minor(), b.minor())),
            Ok((3, 2))
        );
    }
}
