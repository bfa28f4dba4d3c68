//! Money (what is payable) and amounts (what is measured), both exact.

use std::fmt;

use thiserror::Error;

use crate::{Currency, Ratio, Rounding, decimal};

/// A payable sum in whole minor units: an invoice line, a charge, a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// A measured sum in millionths of a currency unit: a price, usage, a lot, a balance, an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    micros: i64,
    currency: Currency,
}

/// Why two sums do not make a third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MoneyError {
    /// The sums are of two currencies.
    #[error("currencies differ")]
    CurrenciesDiffer,
    /// The result does not fit.
    #[error("out of range")]
    OutOfRange,
    /// The text is not a plain decimal of at most the currency's places.
    #[error("not a plain decimal of the currency")]
    NotADecimal,
}

impl Money {
    /// `minor` minor units of `currency`.
    pub const fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// The sum that a plain decimal such as "1280.00" or "-0.50" spells.
    ///
    /// # Errors
    /// `NotADecimal` for more places than the currency has, exponents, `+`, spaces, overflow.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let minor = decimal::parse(text, currency.decimals()).ok_or(MoneyError::NotADecimal)?;
        Ok(Self { minor, currency })
    }

    /// Its minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// Its currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum of both.
    ///
    /// # Errors
    /// `CurrenciesDiffer`, `OutOfRange`.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrenciesDiffer);
        }
        let minor = self
            .minor
            .checked_add(other.minor)
            .ok_or(MoneyError::OutOfRange)?;
        Ok(Self { minor, ..self })
    }

    /// Its negative.
    ///
    /// # Errors
    /// `OutOfRange` for the least of all sums.
    pub fn negated(self) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_neg().ok_or(MoneyError::OutOfRange)?;
        Ok(Self { minor, ..self })
    }

    /// `self × factor`, rounded once.
    ///
    /// # Errors
    /// `OutOfRange`.
    pub fn scaled(self, factor: Ratio, rounding: Rounding) -> Result<Self, MoneyError> {
        let exact = factor
            .times(i128::from(self.minor))
            .ok_or(MoneyError::OutOfRange)?;
        Self::rounded(exact, self.currency, rounding)
    }

    /// The payable sum nearest to `minor` exact minor units.
    ///
    /// # Errors
    /// `OutOfRange`.
    pub fn rounded(
        minor: Ratio,
        currency: Currency,
        rounding: Rounding,
    ) -> Result<Self, MoneyError> {
        let minor = i64::try_from(minor.rounded(rounding)).map_err(|_| MoneyError::OutOfRange)?;
        Ok(Self { minor, currency })
    }

    /// The same sum as an amount; exact, as no minor unit is smaller than a millionth.
    ///
    /// # Errors
    /// `OutOfRange` above some nine million million units.
    pub fn amount(self) -> Result<Amount, MoneyError> {
        let micros = self.minor.checked_mul(self.currency.micros_per_minor());
        Ok(Amount {
            micros: micros.ok_or(MoneyError::OutOfRange)?,
            currency: self.currency,
        })
    }
}

impl Amount {
    /// `micros` millionths of `currency`.
    pub const fn from_micros(micros: i64, currency: Currency) -> Self {
        Self { micros, currency }
    }

    /// The amount that a plain decimal of at most six places spells.
    ///
    /// # Errors
    /// `NotADecimal` for more places, exponents, `+`, spaces, overflow.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let micros = decimal::parse(text, 6).ok_or(MoneyError::NotADecimal)?;
        Ok(Self { micros, currency })
    }

    /// Its millionths.
    pub const fn micros(self) -> i64 {
        self.micros
    }

    /// Its currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The payable sum nearest to it.
    pub fn rounded(self, rounding: Rounding) -> Money {
        let per_minor = i128::from(self.currency.micros_per_minor());
        let minor = Ratio::new(i128::from(self.micros), per_minor).rounded(rounding);
        let minor = i64::try_from(minor).expect("dividing keeps it in range");
        Money {
            minor,
            currency: self.currency,
        }
    }
}

/// "1280.00": the currency's places, without its code.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = self.currency.decimals();
        decimal::write(f, self.minor, decimals, decimals)
    }
}

/// "0.007500": six places, without its code. With `{:#}` no more places than it needs, but the
/// currency's: "0.0075", "40000.00".
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if f.alternate() {
            self.currency.decimals()
        } else {
            6
        };
        decimal::write(f, self.micros, 6, least)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_money(text: &str, currency: Currency, expected: Option<i64>) {
        assert_eq!(
            Money::parse(text, currency).ok().map(Money::minor),
            expected,
            "{text}"
        );
    }

    #[test]
    fn money_is_read_as_a_plain_decimal_of_the_currencys_places_and_nothing_else() {
        check_money("1280.00", Currency::Usd, Some(128_000));
        check_money("-0.50", Currency::Usd, Some(-50));
        check_money("7", Currency::Usd, Some(700));
        check_money("7", Currency::Jpy, Some(7));
        check_money("1.234", Currency::Kwd, Some(1234));
        check_money("92233720368547758.07", Currency::Usd, Some(i64::MAX));
        for bad in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            "1e3",
            " 1",
            "1,0",
            "--1",
            "1.001",
            "0x1",
            "१",
            "92233720368547758.08",
            "99999999999999999999",
        ] {
            check_money(bad, Currency::Usd, None);
        }
        check_money("7.0", Currency::Jpy, None);
    }

    #[test]
    fn amounts_show_six_places_or_as_few_as_they_need() {
        assert_eq!(
            Amount::from_micros(7_500, Currency::Usd).to_string(),
            "0.007500"
        );
        let show = |micros| format!("{:#}", Amount::from_micros(micros, Currency::Usd));
        assert_eq!(show(40_000_000_000), "40000.00");
        assert_eq!(show(7_500), "0.0075");
        assert_eq!(show(-1), "-0.000001");
        assert_eq!(
            format!("{:#}", Amount::from_micros(5_000_000, Currency::Jpy)),
            "5"
        );
    }

    #[test]
    fn sums_of_two_currencies_and_sums_that_overflow_are_refused() {
        let cent = Money::from_minor(1, Currency::Usd);
        assert_eq!(
            cent.plus(Money::from_minor(1, Currency::Eur)),
            Err(MoneyError::CurrenciesDiffer)
        );
        assert_eq!(
            cent.plus(Money::from_minor(i64::MAX, Currency::Usd)),
            Err(MoneyError::OutOfRange)
        );
        assert_eq!(
            Money::from_minor(i64::MIN, Currency::Usd).negated(),
            Err(MoneyError::OutOfRange)
        );
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(minor: i64, micros: i64) {
            for currency in Currency::ALL {
                let money = Money::from_minor(minor, currency);
                prop_assert_eq!(Money::parse(&money.to_string(), currency), Ok(money));
                let amount = Amount::from_micros(micros, currency);
                prop_assert_eq!(Amount::parse(&amount.to_string(), currency), Ok(amount));
            }
        }
    }
}
