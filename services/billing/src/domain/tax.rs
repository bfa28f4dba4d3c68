//! Taxes on an amount to pay, each rounded once.

use std::collections::HashMap;

use values::{Money, MoneyError, Ratio, Rounding};

/// The tax rules of a country.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxPolicy {
    /// Rate in basis points, on top of the price.
    pub rate_bps: i64,
    /// Tax codes if customer and issuer are in the same state, such as CGST and SGST.
    pub same_state: Vec<String>,
    /// Tax codes if they are not, such as IGST.
    pub other_state: Vec<String>,
    /// Rate for exports and special economic zones, in basis points.
    pub export_bps: i64,
    /// HSN or SAC codes that issuers of the country print, by what a line charges for.
    pub line_codes: HashMap<String, String>,
    /// Tax codes and names of its states, by state code; empty if its issuers print no place of supply.
    pub states: HashMap<String, String>,
}

/// One tax line of an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaxLine {
    /// Tax code, such as IGST.
    pub code: String,
    /// Its rate in basis points.
    pub rate_bps: i64,
    /// The amount of the tax.
    pub money: Money,
}

/// The taxes on `net`, one line each (REQ-128). Within one state the rate is split into two halves, each applied to
/// the taxable value and rounded like any tax, so that equal rates give equal taxes (D33). Taxes of zero have no
/// line.
///
/// # Errors
/// `OutOfRange` if an amount overflows.
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
    let codes = if same_state && !export {
        &policy.same_state
    } else {
        &policy.other_state
    };
    let parts = match codes.as_slice() {
        // The catalogue refuses odd rates for a tax in two parts.
        [first, second] => vec![(first, rate_bps / 2), (second, rate_bps / 2)],
        codes => codes.iter().take(1).map(|code| (code, rate_bps)).collect(),
    };
    let mut lines = Vec::new();
    for (code, rate_bps) in parts {
        let money = tax(net, rate_bps)?;
        if money.minor() != 0 {
            lines.push(TaxLine {
                code: code.clone(),
                rate_bps,
                money,
            });
        }
    }
    Ok(lines)
}

/// The tax of `rate_bps` basis points on `net`, rounded half up to the minor unit.
///
/// # Errors
/// `OutOfRange` if an amount overflows.
pub fn tax(net: Money, rate_bps: i64) -> Result<Money, MoneyError> {
    net.scaled(Ratio::new(i128::from(rate_bps), 10_000), Rounding::HalfUp)
}

/// Splits credited tax over the taxes of an invoice in proportion to their amounts. The parts add up to it.
pub fn split(minor: i64, amounts: &[i64]) -> Vec<i64> {
    let total: i128 = amounts.iter().copied().map(i128::from).sum();
    let (mut before, mut given) = (0_i128, 0_i64);
    let parts = amounts.iter().map(|amount| {
        before += i128::from(*amount);
        let until = i128::from(minor) * before / total.max(1);
        let until = i64::try_from(until).unwrap_or(minor);
        let part = until - given;
        given = until;
        part
    });
    parts.collect()
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
            line_codes: HashMap::new(),
            states: HashMap::new(),
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
    fn credited_tax_is_split_like_the_tax_of_the_invoice() {
        assert_eq!(split(180_00, &[270_00, 270_00]), [90_00, 90_00]);
        assert_eq!(split(180_01, &[270_00, 270_00]), [90_00, 90_01]);
        assert_eq!(split(180_01, &[540_00]), [180_01]);
        assert_eq!(split(0, &[]), [0_i64; 0]);
    }

    #[test]
    fn each_half_is_its_own_rate_on_the_taxable_value() {
        let policy = TaxPolicy {
            rate_bps: 1800,
            same_state: vec!["CGST".to_owned(), "SGST".to_owned()],
            other_state: vec!["IGST".to_owned()],
            export_bps: 0,
            line_codes: HashMap::new(),
            states: HashMap::new(),
        };
        let minor = |net, same_state| -> Vec<i64> {
            let net = Money::from_minor(net, Currency::Inr);
            let lines = lines(&policy, net, (same_state, false)).unwrap();
            lines.iter().map(|line| line.money.minor()).collect()
        };
        assert_eq!(minor(10_000_00, true), [900_00, 900_00]);
        // 9 % of 1,000.05 are 90.0045, and 18 % are 180.009.
        assert_eq!(minor(1_000_05, true), [90_00, 90_00]);
        assert_eq!(minor(1_000_05, false), [180_01]);
        for net in 0..2_000 {
            let halves = minor(net, true);
            assert!(halves.windows(2).all(|it| it[0] == it[1]), "{net}");
        }
    }
}
