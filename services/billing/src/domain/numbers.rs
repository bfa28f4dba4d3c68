//! Invoice numbers, without gaps per issuer and fiscal year (D11).

use chrono::{DateTime, Datelike as _, Utc};
use uuid::Uuid;
use values::{InvoiceId, Zone};

/// The fiscal year of an instant, named by the calendar year it starts in, in the issuer's time zone.
pub fn fiscal_year(at: DateTime<Utc>, zone: Zone, start_month: u32) -> i32 {
    let day = zone.day(at);
    if day.month() < start_month {
        day.year() - 1
    } else {
        day.year()
    }
}

/// The id of the invoice with `number` in `series`, both above zero. Distinct numbers give distinct ids, so the
/// primary key of invoices also keeps numbers unique. Numbers of 2⁵⁶ and above are not supported.
#[expect(clippy::many_single_char_names, reason = "bytes in order")]
pub fn invoice_id(series: i32, number: i64) -> InvoiceId {
    let [a, b, c, d] = series.to_be_bytes();
    let [_, e, f, g, h, i, j, k] = number.to_be_bytes();
    // A version 8 UUID; its fixed bits lie in bytes that carry nothing else.
    InvoiceId::from_uuid(Uuid::from_bytes([
        a, b, c, d, 0, 0, 0x80, 0, 0x80, e, f, g, h, i, j, k,
    ]))
}

/// Formats a number for the invoice: "GL-26-00000042", at most 16 characters up to 999,999,999. Series without a
/// prefix began before there were prefixes and keep their form: "global_inc-2026-00000042".
pub fn shown((issuer, prefix): (&str, &str), fiscal_year: i32, number: i64) -> String {
    if prefix.is_empty() {
        return format!("{issuer}-{fiscal_year}-{number:08}");
    }
    let year = fiscal_year.rem_euclid(100);
    format!("{prefix}-{year:02}-{number:08}")
}

/// The prefix of an issuer's credit notes: that of its invoices and a C. It is longer than every prefix of invoices,
/// which have two characters, so that no credit note has the number of an invoice.
pub fn credit_note_prefix(prefix: &str) -> String {
    if prefix.is_empty() {
        return String::new();
    }
    format!("{prefix}C")
}

/// The place in its series of an invoice with this number: the digits that it ends in. `None` if there are none.
pub fn counted(number: &str) -> Option<i64> {
    let head = number.trim_end_matches(|it: char| it.is_ascii_digit());
    number.strip_prefix(head)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fiscal_year_starts_in_its_month_in_the_zone_of_the_issuer() {
        let kolkata = Zone::parse("Asia/Kolkata").unwrap();
        let year = |at: &str| fiscal_year(at.parse().unwrap(), kolkata, 4);
        assert_eq!(year("2026-03-31T18:29:59Z"), 2025);
        assert_eq!(year("2026-03-31T18:30:00Z"), 2026);
        assert_eq!(year("2027-01-15T00:00:00Z"), 2026);
    }

    #[test]
    fn other_numbers_have_other_ids_in_the_same_order() {
        let ids: Vec<_> = [(1, 1), (1, 2), (1, 256), (1, 1 << 40), (2, 1)]
            .map(|(s, n)| invoice_id(s, n))
            .to_vec();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_number_has_at_most_16_letters_digits_and_hyphens() {
        let credit_note = credit_note_prefix("IN");
        for (prefix, year, number, said) in [
            ("IN", 2025, 1, "IN-25-00000001"),
            (credit_note.as_str(), 2025, 1, "INC-25-00000001"),
            ("IN", 2105, 999_999_999, "IN-05-999999999"),
            (credit_note.as_str(), 2026, 999_999_999, "INC-26-999999999"),
        ] {
            let shown = shown(("india_pvt", prefix), year, number);
            assert_eq!(shown, said);
            assert!(shown.len() <= 16, "{shown}");
            let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            assert!(shown.bytes().all(fits), "{shown}");
        }
        // What was issued before there were prefixes keeps its number.
        assert_eq!(
            shown(("global_inc", ""), 2026, 42),
            "global_inc-2026-00000042"
        );
        assert_eq!(credit_note_prefix(""), "");
        assert_eq!(counted(&shown(("global_inc", ""), 2026, 42)), Some(42));
        assert_eq!(counted(&shown(("india_pvt", "IN"), 2026, 42)), Some(42));
        assert_eq!(counted("global_inc-"), None);
        assert_eq!(counted("99999999999999999999"), None);
    }
}
