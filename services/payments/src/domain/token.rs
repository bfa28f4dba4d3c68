//! Provider tokens of payment methods. Card numbers are never accepted (R31).

use thiserror::Error;
use values::holds_card_number;

/// A provider's token for a payment method; never a card number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// Why a text is not an acceptable token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadToken {
    /// The text contains a card number (R31).
    #[error("card numbers are not accepted; send a provider token")]
    CardNumber,
    /// The text is empty, too long or contains characters that no token has.
    #[error("not a token: 1 to 255 letters, digits, '-' or '_'")]
    Malformed,
}

impl Token {
    /// Parses a token.
    ///
    /// # Errors
    /// `CardNumber` if the text contains a card number; `Malformed` if it is not 1 to 255 letters, digits, '-' or '_'.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        if holds_card_number(text) {
            return Err(BadToken::CardNumber);
        }
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if text.is_empty() || 255 < text.len() || !plain {
            return Err(BadToken::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// The token as the provider wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keeps tokens out of logs.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
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
            "4242/4242/4242/4242",
        ] {
            assert_eq!(Token::parse(number), Err(BadToken::CardNumber), "{number}");
        }
        for token in [
            "pm_card_visa",
            "tok_4242424242424242",
            "4242424242424241",
            "IN00000000000000000000000000000000",
            "0191e7a0-4242-7424-8242-424242424242",
            "42424242-4242-4242-8242-424242424242",
        ] {
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
