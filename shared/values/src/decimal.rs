//! Plain decimals as scaled integers: what people type and read.

use std::fmt;

/// The value of a plain decimal ("1280.00", "-0.5", "7") in units of `10^-decimals`.
///
/// Signs other than a leading `-`, exponents, spaces, a missing digit on either side of the
/// point, and more than `decimals` digits after it are refused with `None`; so is what leaves
/// `i64`.
pub fn parse(text: &str, decimals: u32) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return None,
        Some(split) => split,
        None => (digits, ""),
    };
    let places = u32::try_from(fraction.len()).ok()?;
    let all_digits = whole
        .bytes()
        .chain(fraction.bytes())
        .all(|b| b.is_ascii_digit());
    if whole.is_empty() || decimals < places || !all_digits || 19 < whole.len() {
        return None;
    }
    let magnitude: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = magnitude * 10_i128.pow(decimals - places);
    i64::try_from(if negative { -scaled } else { scaled }).ok()
}

/// Writes `value × 10^-decimals` with at least `least` places, and no more than it needs.
///
/// # Errors
/// As the formatter's.
pub fn write(f: &mut fmt::Formatter<'_>, value: i64, decimals: u32, least: u32) -> fmt::Result {
    let sign = if value < 0 { "-" } else { "" };
    let unit = 10_u64.pow(decimals);
    let (whole, mut fraction) = (value.unsigned_abs() / unit, value.unsigned_abs() % unit);
    let mut places = decimals;
    while least < places && fraction % 10 == 0 {
        fraction /= 10;
        places -= 1;
    }
    if places == 0 {
        return write!(f, "{sign}{whole}");
    }
    let width = usize::try_from(places).expect("at most six");
    write!(f, "{sign}{whole}.{fraction:0width$}")
}
