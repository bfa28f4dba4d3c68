//! Invoice numbers: gapless per issuer and fiscal year (D11).

use chrono::{DateTime, Datelike as _, Utc};
use uuid::Uuid;
use values::{InvoiceId, Zone};

/// The fiscal year of an instant: the calendar year in which it starts, in the issuer's zone.
pub fn fiscal_year(at: DateTime<Utc>, zone: Zone, start_month: u32) -> i32 {
    let day = zone.day(at);
    if day.month() < start_month {
        day.year() - 1
    } else {
        day.year()
    }
}

/// The id of the invoice with a number of a series, both above zero: other numbers give other ids,
/// so that what makes ids unique makes numbers unique. A number of 2⁵⁶ or more is not to be had.
#[expect(clippy::many_single_char_names, reason = "bytes in order")]
pub fn invoice_id(series: i32, number: i64) -> InvoiceId {
    let [a, b, c, d] = series.to_be_bytes();
    let [_, e, f, g, h, i, j, k] = number.to_be_bytes();
    // A UUID of version 8, whose fixed bits lie in bytes that carry nothing else.
    InvoiceId::from_uuid(Uuid::from_bytes([
        a, b, c, d, 0, 0, 0x80, 0, 0x80, e, f, g, h, i, j, k,
    ]))
}

/// A number as it stands on the invoice: "global_inc-2026-00000042".
pub fn shown(issuer: &str, fiscal_year: i32, number: i64) -> String {
    format!("{issuer}-{fiscal_year}-{number:08}")
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
        assert_eq!(shown("global_inc", 2026, 42), "global_inc-2026-00000042");
    }
}
