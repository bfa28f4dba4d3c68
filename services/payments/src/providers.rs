//! The port to whoever moves the money, behind one trait.

pub mod sandbox;

use std::future::Future;

use thiserror::Error;
use values::Money;

/// A provider's name for a way to pay; never a card number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// The text is not a token that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadToken {
    /// It looks like the number of a card (R31).
    #[error("card numbers are not taken, only tokens of a provider")]
    CardNumber,
    /// It is empty, too long or has characters that no token has.
    #[error("not a token: 1 to 128 letters, digits, '-' or '_'")]
    Malformed,
}

impl Token {
    /// The token that `text` spells.
    ///
    /// # Errors
    /// `CardNumber` for 12 to 19 digits that pass the Luhn check, whatever stands between them.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
        let only_digits = text
            .chars()
            .all(|c| c.is_ascii_digit() || c == ' ' || c == '-');
        if only_digits && (12..=19).contains(&digits.len()) && luhn(&digits) {
            return Err(BadToken::CardNumber);
        }
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if text.is_empty() || 128 < text.len() || !plain {
            return Err(BadToken::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// The provider's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Tokens stay out of logs.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

fn luhn(digits: &[u32]) -> bool {
    let doubled = |digit: u32| if 4 < digit { 2 * digit - 9 } else { 2 * digit };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(n, d)| if n % 2 == 1 { doubled(*d) } else { *d })
        .sum();
    sum.is_multiple_of(10)
}

/// A charge to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChargeOrder {
    /// Our reference, derived from what is paid for: the same for every retry (R3).
    pub reference: String,
    /// What to charge.
    pub token: Token,
    /// How much, above zero.
    pub amount: Money,
}

/// What a provider says of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The money has moved.
    Succeeded {
        /// The provider's id.
        provider_id: String,
        /// What it says it moved.
        amount: Money,
    },
    /// It was turned down for good.
    Declined {
        /// Why, in the provider's word.
        reason: String,
    },
    /// It is under way: a slow method, or the payer must act.
    Pending {
        /// The provider's id.
        provider_id: String,
    },
    /// Nobody knows: a timeout, a reset, an answer that does not read. Only a look-up leaves it.
    Unknown,
}

/// Whoever moves the money.
pub trait PaymentProvider: Send + Sync {
    /// Asks for a charge. Asking again with the same reference never charges twice.
    fn charge(&self, order: &ChargeOrder) -> impl Future<Output = Outcome> + Send;

    /// What became of the charge with this reference; `None` when the provider never heard of it.
    fn look_up(&self, reference: &str) -> impl Future<Output = Option<Outcome>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_refused_and_tokens_taken() {
        for number in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "3782-822463-10005",
        ] {
            assert_eq!(Token::parse(number), Err(BadToken::CardNumber), "{number}");
        }
        for token in ["pm_card_visa", "tok_4242424242424242", "4242424242424241"] {
            assert!(Token::parse(token).is_ok(), "{token}");
        }
        assert_eq!(Token::parse(""), Err(BadToken::Malformed));
        assert_eq!(Token::parse("a b"), Err(BadToken::Malformed));
        assert_eq!(
            format!("{:?}", Token::parse("tok_secret").unwrap()),
            "Token(…)"
        );
    }
}
