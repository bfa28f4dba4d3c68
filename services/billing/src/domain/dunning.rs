//! Retry days of failed renewals and unpaid invoices (REQ-127).

use chrono::{Days, NaiveDate};

/// The day of the next attempt after `retries` retries, for a cycle that began, or an invoice that was due, on
/// `start`; `None` after the last one.
///
/// `retry_days` are counted from `start`, so that a late attempt does not move the others.
pub fn next_try(start: NaiveDate, retry_days: &[u64], retries: usize) -> Option<NaiveDate> {
    let days = retry_days.get(retries)?;
    start.checked_add_days(Days::new(*days))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn req_127_it_is_tried_again_on_the_policy_s_days_and_then_not() {
        let day = |text: &str| text.parse::<NaiveDate>().unwrap();
        let next = |retries| next_try(day("2026-05-15"), &[1, 3, 7], retries);
        assert_eq!(next(0), Some(day("2026-05-16")));
        assert_eq!(next(1), Some(day("2026-05-18")));
        assert_eq!(next(2), Some(day("2026-05-22")));
        assert_eq!(next(3), None);
        assert_eq!(next_try(day("2026-05-15"), &[], 0), None);
    }
}
