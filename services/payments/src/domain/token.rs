//! A provider's name for a way to pay, and card numbers, which are never taken (R31).

use thiserror::Error;

/// A provider's name for a way to pay; never a card number.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Token(String);

/// The text is not a token that may be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadToken {
    /// It holds the number of a card (R31).
    #[error("card numbers are not taken, only tokens of a provider")]
    CardNumber,
    /// It is empty, too long or has characters that no token has.
    #[error("not a token: 1 to 255 letters, digits, '-' or '_'")]
    Malformed,
}

impl Token {
    /// The token that `text` spells.
    ///
    /// # Errors
    /// `CardNumber` for a text that is 12 to 19 digits which pass the Luhn check, whatever stands
    /// between them. `Malformed`.
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

/// Whether a text holds 12 to 19 digits that pass the Luhn check, alone or with single spaces or
/// hyphens between them, and no letter or digit beside them.
///
/// Digits glued to letters, as in `tok_4242424242424242` or an id of ours, are no card number, nor is
/// a UUID whose groups happen to be digits.
pub fn holds_card_number(text: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    text.split(|c: char| !part_of_word(c) && c != ' ' && c != '-')
        .any(|stretch| {
            let words: Vec<&str> = stretch.split([' ', '-']).collect();
            if is_uuid(&words) {
                return false;
            }
            words
                .split(|word| word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()))
                .any(|numbers| {
                    // A number may stand beside others, so that each run of words is looked at.
                    (0..numbers.len()).any(|from| {
                        let mut digits = Vec::new();
                        for word in numbers.iter().skip(from) {
                            digits.extend(word.chars().filter_map(|c| c.to_digit(10)));
                            // No card number is longer: a long text is read once, not squared.
                            if 19 < digits.len() {
                                return false;
                            }
                            if 12 <= digits.len() && luhn(&digits) {
                                return true;
                            }
                        }
                        false
                    })
                })
        })
}

fn is_uuid(words: &[&str]) -> bool {
    let lengths = words.iter().map(|word| word.len());
    lengths.eq([8, 4, 4, 4, 12])
        && words
            .iter()
            .all(|word| word.bytes().all(|b| b.is_ascii_hexdigit()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_numbers_are_refused_and_tokens_taken() {
        for number in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "3782-822463-10005",
            "paid with 4242 4242 4242 4242, thanks",
            "1 4242 4242 4242 4242",
        ] {
            assert!(holds_card_number(number), "{number}");
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
        assert!(!holds_card_number(&"1 ".repeat(130_000)), "and at once");
        assert_eq!(Token::parse(""), Err(BadToken::Malformed));
        assert_eq!(Token::parse("a b"), Err(BadToken::Malformed));
        assert_eq!(
            format!("{:?}", Token::parse("tok_secret").unwrap()),
            "Token(…)"
        );
    }
}
