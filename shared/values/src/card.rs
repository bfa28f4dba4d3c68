//! Finds card numbers in text.

/// The shortest number that a card has, and the longest.
const DIGITS: std::ops::RangeInclusive<usize> = 12..=19;
/// With this many digits or fewer after `+` it is a phone number: no card issued today has a number so short.
const PHONE_DIGITS: usize = 13;
/// Up to this many separators in a row are accepted within a card number.
const MOST_SEPARATORS: usize = 3;

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A digit of any script.
    Digit(u32),
    /// A separator that people put between digits.
    Separator,
    /// Anything that ends a number.
    Other,
}

/// A run of digits, and what precedes it.
struct Word {
    digits: Vec<u32>,
    /// A letter and `_` precede it, as in `tok_4242424242424242`.
    named: bool,
    /// `+` precedes it, as in a phone number.
    dialled: bool,
}

/// Whether a text holds 12 to 19 digits that pass the Luhn check, with up to three separators between any two: spaces
/// of every kind, hyphens and dashes, `.`, `/` and `_`. Full-width digits and those of other scripts count as digits.
///
/// Digits attached to letters, as in `IN42424242424242420000000000000000`, are not taken for a card number; nor is a
/// whole number after a name and `_`, as in `tok_4242424242424242`, a UUID, a date, or up to 13 digits after `+`.
pub fn holds_card_number(text: &str) -> bool {
    let parts = parts(text);
    let words: Vec<Option<Word>> = words(&parts);
    words.split(Option::is_none).any(|run| {
        let run: Vec<&Word> = run.iter().flatten().collect();
        // A card number may stand beside other numbers, so each sequence of runs is checked.
        (0..run.len()).any(|from| {
            let mut digits = Vec::new();
            for word in run.iter().skip(from) {
                if word.named && DIGITS.contains(&word.digits.len()) {
                    return false;
                }
                digits.extend(&word.digits);
                // No card number is longer, so a long text takes linear time.
                if *DIGITS.end() < digits.len() {
                    return false;
                }
                let is_phone = digits.len() <= PHONE_DIGITS
                    && run.get(from).is_some_and(|first| first.dialled);
                if DIGITS.contains(&digits.len()) && !is_phone && luhn(&digits) {
                    return true;
                }
            }
            false
        })
    })
}

/// Splits a text into parts; UUIDs and dates are skipped.
fn parts(text: &str) -> Vec<(Part, char)> {
    let chars: Vec<char> = text.chars().collect();
    let mut parts = Vec::with_capacity(chars.len());
    let mut rest = chars.as_slice();
    let mut before = None;
    while let Some((first, others)) = rest.split_first() {
        let glued = before.is_some_and(char::is_alphanumeric);
        let skipped = if glued {
            0
        } else {
            uuid_length(rest).or_else(|| date_length(rest)).unwrap_or(0)
        };
        if let Some((skipped, others)) = rest.split_at_checked(skipped)
            && let Some(last) = skipped.last()
        {
            parts.push((Part::Other, *last));
            before = Some(*last);
            rest = others;
            continue;
        }
        if !is_invisible(*first) {
            parts.push((part(*first), *first));
            before = Some(*first);
        }
        rest = others;
    }
    parts
}

fn part(c: char) -> Part {
    // The zeros of ASCII, full-width, Arabic, Persian and Devanagari digits.
    const ZEROS: [char; 5] = ['0', '\u{ff10}', '\u{660}', '\u{6f0}', '\u{966}'];
    let digit = ZEROS.iter().find_map(|zero| {
        u32::from(c)
            .checked_sub(u32::from(*zero))
            .filter(|digit| *digit < 10)
    });
    if let Some(digit) = digit {
        return Part::Digit(digit);
    }
    let is_line_end = matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    );
    let is_separator = matches!(
        c,
        '-' | '.' | '/' | '_' | '\u{2010}'
            ..='\u{2015}' | '\u{2212}' | '\u{ff0d}' | '\u{ff0e}' | '\u{ff0f}' | '\u{ff3f}'
    );
    if is_separator || c.is_whitespace() && !is_line_end {
        Part::Separator
    } else {
        Part::Other
    }
}

/// Characters that are invisible between two digits.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// The runs of digits in a text, with `None` where a number ends between two of them.
fn words(parts: &[(Part, char)]) -> Vec<Option<Word>> {
    let mut words: Vec<Option<Word>> = Vec::new();
    let mut separators = 0;
    let mut before = [' ', ' '];
    let mut glued = false;
    let mut within = false;
    for (part, c) in parts {
        match part {
            Part::Digit(digit) => {
                if within {
                    if let Some(Some(word)) = words.last_mut() {
                        word.digits.push(*digit);
                    }
                } else if !glued {
                    if MOST_SEPARATORS < separators {
                        words.push(None);
                    }
                    let [earlier, last] = before;
                    words.push(Some(Word {
                        digits: vec![*digit],
                        named: last == '_' && earlier.is_alphabetic(),
                        dialled: last == '+',
                    }));
                    within = true;
                }
                separators = 0;
            }
            Part::Separator => {
                (within, glued) = (false, false);
                separators += 1;
            }
            Part::Other => {
                if within && c.is_alphanumeric() {
                    // Digits attached to a letter do not count.
                    words.pop();
                }
                words.push(None);
                (within, glued) = (false, c.is_alphanumeric());
                separators = 0;
            }
        }
        let [_, last] = before;
        before = [last, *c];
    }
    words
}

/// The length of the UUID that `chars` begin with.
fn uuid_length(chars: &[char]) -> Option<usize> {
    const SHAPE: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    let fits = |(c, shape): (&char, char)| {
        if shape == '-' {
            *c == '-'
        } else {
            c.is_ascii_hexdigit()
        }
    };
    begins(chars, SHAPE.len())
        .filter(|start| start.iter().zip(SHAPE.chars()).all(fits))
        .map(<[char]>::len)
}

/// The length of a date of the 20th or 21st century at the start of `chars`, such as 2026-04-15. No card number
/// begins like this.
fn date_length(chars: &[char]) -> Option<usize> {
    const SHAPE: &str = "dddd-dd-dd";
    let fits = |(c, shape): (&char, char)| {
        if shape == '-' {
            *c == '-'
        } else {
            c.is_ascii_digit()
        }
    };
    begins(chars, SHAPE.len())
        .filter(|start| matches!(start, ['1', '9', ..] | ['2', '0', ..]))
        .filter(|start| start.iter().zip(SHAPE.chars()).all(fits))
        .map(<[char]>::len)
}

/// The first `length` of `chars`, unless a digit follows.
fn begins(chars: &[char], length: usize) -> Option<&[char]> {
    let (start, rest) = chars.split_at_checked(length)?;
    let ends = rest.first().is_none_or(|next| !next.is_ascii_digit());
    ends.then_some(start)
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
    fn card_numbers_are_seen_whatever_stands_between_their_digits() {
        for number in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "3782-822463-10005",
            "paid with 4242 4242 4242 4242, thanks",
            "1 4242 4242 4242 4242",
            "4242.4242.4242.4242",
            "4242/4242/4242/4242",
            "4242_4242_4242_4242",
            "4242  4242  4242  4242",
            "4242 - 4242 - 4242 - 4242",
            "4242\u{a0}4242\u{202f}4242\u{3000}4242",
            "4242\u{200b}4242\u{200b}42424242",
            "４２４２４２４２４２４２４２４２",
            "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢",
            "card_4111 1111 1111 1111",
            "on 2026-04-15 with 4242424242424242",
            "+4242424242424242",
        ] {
            assert!(holds_card_number(number), "{number}");
        }
    }

    #[test]
    fn names_ids_and_dates_are_no_card_numbers() {
        for text in [
            "",
            "pm_card_visa",
            "tok_4242424242424242",
            "4242424242424241",
            "IN00000000000000000000000000000000",
            "0191e7a0-4242-7424-8242-424242424242",
            "42424242-4242-4242-8242-424242424242",
            "about 42424242-4242-4242-8242-424242424242 please",
            "2026-01-01 2026-01-01",
            "call +424242424242 or +42 4242 424242",
            "4242\n4242\n4242\n4242",
            "4242,4242,4242,4242",
            "4242 4242 4242 4242x",
        ] {
            let found = holds_card_number(text);
            // Three groups of four pass the check by themselves.
            assert_eq!(found, text.ends_with('x'), "{text}");
        }
        assert!(!holds_card_number(&"1 ".repeat(130_000)), "and at once");
    }
}
