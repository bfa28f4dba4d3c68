//! Tax on what is payable: apart from credits, rounded once.

use values::{Money, MoneyError, Ratio, Rounding};

/// The tax of a country, as data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxPolicy {
    /// Its rate in basis points, on top of the price.
    pub rate_bps: i64,
    /// Its parts where customer and issuer are in one state, such as CGST and SGST.
    pub same_state: Vec<String>,
    /// Its part where they are not, such as IGST.
    pub other_state: Vec<String>,
    /// Its rate for exports and special economic zones, in basis points.
    pub export_bps: i64,
}

/// One tax of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxLine {
    /// Which, such as IGST.
    pub code: String,
    /// Its rate in basis points.
    pub rate_bps: i64,
    /// How much.
    pub money: Money,
}

/// The taxes on `net`, each on a line of its own (REQ-128): the whole is rounded once, and split into
/// two equal parts where the state is the same. No line for a tax of nothing.
///
/// # Errors
/// `OutOfRange`.
pub fn lines(
    policy: &TaxPolicy,
    net: Money,
    (same_state, export): (bool, bool),
) -> Result<Vec<TaxLine>, MoneyError> {
    let rate_bps = if export {
        policy.export_bps
    } else {
        policy.rate_bps
    };
    let whole = tax(net, rate_bps)?;
    if whole.minor() == 0 {
        return Ok(Vec::new());
    }
    let codes = if same_state && !export {
        &policy.same_state
    } else {
        &policy.other_state
    };
    let line = |code: &String, rate_bps, money| TaxLine {
        code: code.clone(),
        rate_bps,
        money,
    };
    Ok(match codes.as_slice() {
        [first, second] => {
            let (one, other) = halves(whole)?;
            // Of an odd rate the first has the larger half, as of an odd tax.
            let half = rate_bps / 2;
            vec![line(first, rate_bps - half, one), line(second, half, other)]
        }
        codes => codes
            .iter()
            .take(1)
            .map(|code| line(code, rate_bps, whole))
            .collect(),
    })
}

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
    fn req_128_one_state_has_two_taxes_another_one_and_exports_none() {
        let policy = TaxPolicy {
            rate_bps: 1800,
            same_state: vec!["CGST".to_owned(), "SGST".to_owned()],
            other_state: vec!["IGST".to_owned()],
            export_bps: 0,
        };
        let net = Money::from_minor(10_000_00, Currency::Inr);
        let shown = |same_state, export| -> Vec<(String, i64, i64)> {
            lines(&policy, net, (same_state, export))
                .unwrap()
                .into_iter()
                .map(|line| (line.code, line.rate_bps, line.money.minor()))
                .collect()
        };
        assert_eq!(
            shown(true, false),
            [
                ("CGST".to_owned(), 900, 900_00),
                ("SGST".to_owned(), 900, 900_00)
            ]
        );
        assert_eq!(shown(false, false), [("IGST".to_owned(), 1800, 1_800_00)]);
        assert_eq!(shown(true, true), []);
    }

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
