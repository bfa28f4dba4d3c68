//! Between the wire and the values that every service shares. Reading names the field; writing
//! never fails.

use chrono::{DateTime, NaiveDate, Utc};
use proto::r#type::v1 as pb;
use uuid::Uuid;
use values::{Amount, Currency, Id, Kind, Money, Period};

use crate::{FieldError, field_error};

/// The id of a `K` that `text` spells.
pub fn id<K: Kind>(field: &str, text: &str) -> Result<Id<K>, FieldError> {
    text.parse()
        .map_err(|_| field_error(field, format!("{} and 32 lower-case hex digits", K::PREFIX)))
}

/// The id that `text` spells; `None` when it is empty.
pub fn optional_id<K: Kind>(field: &str, text: &str) -> Result<Option<Id<K>>, FieldError> {
    if text.is_empty() {
        Ok(None)
    } else {
        id(field, text).map(Some)
    }
}

/// A code of the catalogue, such as `SUPPORT` or `business`: 1 to 64 letters, digits, `-`, `_`.
pub fn code<'a>(field: &str, text: &'a str) -> Result<&'a str, FieldError> {
    let plain = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !text.is_empty() && text.len() <= 64 && plain {
        return Ok(text);
    }
    Err(field_error(field, "1 to 64 letters, digits, '-' or '_'"))
}

/// A code, or nothing.
pub fn optional_code<'a>(field: &str, text: &'a str) -> Result<Option<&'a str>, FieldError> {
    if text.is_empty() {
        Ok(None)
    } else {
        code(field, text).map(Some)
    }
}

/// A text of 1 to `longest` visible characters.
pub fn text<'a>(field: &str, text: &'a str, longest: usize) -> Result<&'a str, FieldError> {
    let length = text.chars().count();
    if 0 < length
        && length <= longest
        && !text.chars().any(char::is_control)
        && !hides_something(text)
        && !text.trim().is_empty()
    {
        return Ok(text);
    }
    Err(field_error(
        field,
        format!("1 to {longest} characters, all of which are seen"),
    ))
}

/// Whether a text contains NUL, or a character that is invisible or changes the writing direction, so that different
/// texts look alike. A joiner after a virama (vowel killer) is regular spelling in Indian languages.
pub fn hides_something(text: &str) -> bool {
    let mut before = None;
    text.chars().any(|c| {
        let joins = matches!(c, '\u{200c}' | '\u{200d}') && before.is_some_and(is_virama);
        before = Some(c);
        !joins && is_hidden(c)
    })
}

fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\0' | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Virama characters of the Indian scripts.
fn is_virama(c: char) -> bool {
    matches!(
        c,
        '\u{94d}'
            | '\u{9cd}'
            | '\u{a4d}'
            | '\u{acd}'
            | '\u{b4d}'
            | '\u{bcd}'
            | '\u{c4d}'
            | '\u{ccd}'
            | '\u{d4d}'
    )
}

/// Like [`text`], but may contain line breaks and may be empty.
pub fn lines<'a>(field: &str, text: &'a str, longest: usize) -> Result<&'a str, FieldError> {
    let plain = |c: char| c == '\n' || !c.is_control();
    if text.chars().count() <= longest && text.chars().all(plain) && !hides_something(text) {
        return Ok(text);
    }
    Err(field_error(
        field,
        format!("at most {longest} characters, all of which are seen"),
    ))
}

/// A text of at most `longest` characters, which may be empty.
pub fn optional_text<'a>(
    field: &str,
    text: &'a str,
    longest: usize,
) -> Result<&'a str, FieldError> {
    if text.is_empty() {
        return Ok(text);
    }
    self::text(field, text, longest)
}

/// A UUID.
pub fn uuid(field: &str, text: &str) -> Result<Uuid, FieldError> {
    let read = Uuid::try_parse(text)
        .ok()
        .filter(|id| !id.is_nil() && text.len() == 36);
    read.ok_or_else(|| field_error(field, "a UUID"))
}

/// An instant in whole microseconds, in the years 2000 to 2199.
pub fn instant(
    field: &str,
    sent: Option<prost_types::Timestamp>,
) -> Result<DateTime<Utc>, FieldError> {
    optional_instant(field, sent)?.ok_or_else(|| field_error(field, "an instant"))
}

/// An instant as [`instant`] reads it; `None` when it was not sent.
pub fn optional_instant(
    field: &str,
    sent: Option<prost_types::Timestamp>,
) -> Result<Option<DateTime<Utc>>, FieldError> {
    // 2000-01-01 and 2200-01-01.
    const RANGE: std::ops::Range<i64> = 946_684_800..7_258_118_400;
    let Some(sent) = sent else { return Ok(None) };
    let read = u32::try_from(sent.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000 && RANGE.contains(&sent.seconds))
        .and_then(|nanos| DateTime::from_timestamp(sent.seconds, nanos - nanos % 1_000));
    read.map(Some)
        .ok_or_else(|| field_error(field, "an instant in the years 2000 to 2199"))
}

/// A day, ISO 8601.
pub fn date(field: &str, text: &str) -> Result<NaiveDate, FieldError> {
    let read = (text.len() == 10).then(|| text.parse().ok()).flatten();
    read.ok_or_else(|| field_error(field, "a date such as 2026-04-15"))
}

/// A month such as 2026-04.
pub fn month(field: &str, text: &str) -> Result<Period, FieldError> {
    Period::parse_month(text).map_err(|_| field_error(field, "a month such as 2026-04"))
}

/// The largest amount accepted, and the largest balance that one amount may lead to, in millionths: 10^12 units. A
/// sum of several of these still fits in 64 bits.
pub const MICROS_MAX: i64 = 1_000_000_000_000_000_000;

/// The expected value in the error for an amount that is too large.
pub const TOO_LARGE: &str = "at most 1000000000000";

/// An amount that can be paid, within ±10^12 units.
pub fn money(field: &str, sent: Option<&pb::Money>) -> Result<Money, FieldError> {
    let sent = sent.ok_or_else(|| field_error(field, "a sum of money"))?;
    let currency = currency(&format!("{field}.currency_code"), &sent.currency_code)?;
    let money = Money::parse(&sent.amount, currency).map_err(|_| {
        let places = currency.decimals();
        field_error(
            format!("{field}.amount"),
            format!("a plain decimal of at most {places} places"),
        )
    })?;
    let most = (MICROS_MAX / currency.micros_per_minor()).unsigned_abs();
    if most < money.minor().unsigned_abs() {
        return Err(field_error(format!("{field}.amount"), TOO_LARGE));
    }
    Ok(money)
}

/// An amount in millionths, within ±10^12 units.
pub fn amount(field: &str, sent: &pb::Amount) -> Result<Amount, FieldError> {
    let currency = currency(&format!("{field}.currency_code"), &sent.currency_code)?;
    let amount = Amount::parse(&sent.amount, currency).map_err(|_| {
        field_error(
            format!("{field}.amount"),
            "a plain decimal of at most 6 places",
        )
    })?;
    if MICROS_MAX.unsigned_abs() < amount.micros().unsigned_abs() {
        return Err(field_error(format!("{field}.amount"), TOO_LARGE));
    }
    Ok(amount)
}

fn currency(field: &str, text: &str) -> Result<Currency, FieldError> {
    text.parse()
        .map_err(|_| field_error(field, "an ISO 4217 code known here, such as USD"))
}

/// An instant, as sent.
pub fn timestamp(from: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: from.timestamp(),
        nanos: i32::try_from(from.timestamp_subsec_nanos()).unwrap_or(0),
    }
}

/// A payable sum, as sent.
pub fn pb_money(from: Money) -> pb::Money {
    pb::Money {
        currency_code: from.currency().to_string(),
        amount: from.to_string(),
    }
}

/// A measured sum, as sent.
pub fn pb_amount(from: Amount) -> pb::Amount {
    pb::Amount {
        currency_code: from.currency().to_string(),
        amount: from.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_sees_is_no_text() {
        for hidden in [
            "a\0",
            "\u{202e}gnp.exe",
            "\u{202c}x",
            "\u{2066}x",
            "x\u{200b}",
            "x\u{200d}y",
            "\u{feff}x",
        ] {
            assert!(hides_something(hidden), "{hidden:?}");
            assert!(text("name", hidden, 100).is_err(), "{hidden:?}");
            assert!(lines("name", hidden, 100).is_err(), "{hidden:?}");
        }
        for seen in ["Ann", "ക്\u{200d}", "क्\u{200c}ष", "💥", "東京"] {
            assert_eq!(text("name", seen, 100), Ok(seen));
        }
        assert!(text("name", "a\nb", 100).is_err());
        assert_eq!(lines("address", "a\nb", 100), Ok("a\nb"));
    }

    #[test]
    fn a_sum_has_at_most_a_million_million_units() {
        let sum = |amount: &str, currency: &str| pb::Money {
            currency_code: currency.to_owned(),
            amount: amount.to_owned(),
        };
        for (text, taken) in [
            ("1000000000000", true),
            ("-1000000000000", true),
            ("1000000000000.01", false),
            ("9200000000000", false),
            ("-9200000000000", false),
        ] {
            let read = money("amount", Some(&sum(text, "USD")));
            assert_eq!(read.is_ok(), taken, "{text}");
            let read = amount(
                "amount",
                &pb::Amount {
                    currency_code: "USD".to_owned(),
                    amount: text.to_owned(),
                },
            );
            assert_eq!(read.is_ok(), taken, "{text}");
            let field = read.err().map(|fault| fault.field);
            assert!(field.is_none_or(|field| field == "amount.amount"));
        }
    }
}
