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

/// A text of 1 to `longest` characters without control characters.
pub fn text<'a>(field: &str, text: &'a str, longest: usize) -> Result<&'a str, FieldError> {
    let length = text.chars().count();
    if 0 < length
        && length <= longest
        && !text.chars().any(char::is_control)
        && !text.trim().is_empty()
    {
        return Ok(text);
    }
    Err(field_error(
        field,
        format!("1 to {longest} characters, none of them a control character"),
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

/// A payable sum.
pub fn money(field: &str, sent: Option<&pb::Money>) -> Result<Money, FieldError> {
    let sent = sent.ok_or_else(|| field_error(field, "a sum of money"))?;
    let currency = currency(&format!("{field}.currency_code"), &sent.currency_code)?;
    Money::parse(&sent.amount, currency).map_err(|_| {
        let places = currency.decimals();
        field_error(
            format!("{field}.amount"),
            format!("a plain decimal of at most {places} places"),
        )
    })
}

/// A measured sum.
pub fn amount(field: &str, sent: &pb::Amount) -> Result<Amount, FieldError> {
    let currency = currency(&format!("{field}.currency_code"), &sent.currency_code)?;
    Amount::parse(&sent.amount, currency).map_err(|_| {
        field_error(
            format!("{field}.amount"),
            "a plain decimal of at most 6 places",
        )
    })
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
