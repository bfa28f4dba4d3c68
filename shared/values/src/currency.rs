//! Currencies and their decimals.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A currency of ISO 4217 that Perdiem bills in. Adding one is a decision, not a guess of two
/// decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the codes are ISO 4217's")]
pub enum Currency {
    Aed,
    Eur,
    Gbp,
    Inr,
    Jpy,
    Kwd,
    Sgd,
    Usd,
}

/// A text that is not the code of a currency known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a currency code known here")]
pub struct UnknownCurrency;

impl Currency {
    /// Every currency.
    pub const ALL: [Self; 8] = [
        Self::Aed,
        Self::Eur,
        Self::Gbp,
        Self::Inr,
        Self::Jpy,
        Self::Kwd,
        Self::Sgd,
        Self::Usd,
    ];

    /// Its ISO 4217 code, three capitals.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Aed => "AED",
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Inr => "INR",
            Self::Jpy => "JPY",
            Self::Kwd => "KWD",
            Self::Sgd => "SGD",
            Self::Usd => "USD",
        }
    }

    /// How many decimals its minor unit has (ISO 4217's exponent), 0 to 3.
    pub const fn decimals(self) -> u32 {
        match self {
            Self::Jpy => 0,
            Self::Kwd => 3,
            Self::Aed | Self::Eur | Self::Gbp | Self::Inr | Self::Sgd | Self::Usd => 2,
        }
    }

    /// Millionths in one minor unit: 10,000 for a cent.
    pub const fn micros_per_minor(self) -> i64 {
        10_i64.pow(6 - self.decimals())
    }
}

impl FromStr for Currency {
    type Err = UnknownCurrency;

    fn from_str(text: &str) -> Result<Self, UnknownCurrency> {
        Self::ALL
            .into_iter()
            .find(|currency| currency.code() == text)
            .ok_or(UnknownCurrency)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
