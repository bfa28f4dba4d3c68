//! What invoices say in words: what a line charges for, days, and totals.

use chrono::{Datelike as _, NaiveDate};
use values::{Currency, Money};

use super::collection::LineKind;

/// What a line of an invoice charges for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charged<'a> {
    /// What it pays for.
    pub kind: LineKind,
    /// The plan family; empty if none.
    pub family: &'a str,
    /// The plan; empty if none.
    pub plan: &'a str,
    /// The billing cycle; empty if none.
    pub cycle: &'a str,
    /// First day and day after the last.
    pub period: (NaiveDate, NaiveDate),
    /// Days charged of the days of the month; `None` if it is not charged by days.
    pub days: Option<(i32, i32)>,
}

/// What a line charges for: "Support plan Business, 15 to 30 April 2026, 16 of 30 days".
pub fn line(it: &Charged<'_>) -> String {
    let what = match it.kind {
        LineKind::Credits => "Prepaid credit".to_owned(),
        LineKind::Usage => "Usage".to_owned(),
        LineKind::Invoice => "Invoice".to_owned(),
        LineKind::Subscription if it.plan.is_empty() => "Subscription".to_owned(),
        LineKind::Subscription if it.family.is_empty() => format!("Plan {}", titled(it.plan)),
        LineKind::Subscription => format!("{} plan {}", titled(it.family), titled(it.plan)),
    };
    let mut parts = vec![what];
    if !it.cycle.is_empty() {
        parts.push(it.cycle.to_lowercase().replace('_', " "));
    }
    let (start, end) = it.period;
    // A purchase of one day has the day of the invoice.
    if it.days.is_some() || start.succ_opt() != Some(end) {
        parts.push(days(start, end));
    }
    if let Some((active, month)) = it.days.filter(|(active, month)| active < month) {
        parts.push(format!("{active} of {month} days"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// A code as a name: `pay_as_you_go` is "Pay as you go".
fn titled(code: &str) -> String {
    let spaced = code.to_lowercase().replace('_', " ");
    let mut letters = spaced.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// A half-open period with its last day: "15 to 30 April 2026", "15 April to 14 May 2026". Empty if it has no day.
pub fn days(start: NaiveDate, end: NaiveDate) -> String {
    let Some(last) = end.pred_opt().filter(|last| start <= *last) else {
        return String::new();
    };
    if start == last {
        return day(start);
    }
    let first = if start.year() != last.year() {
        day(start)
    } else if start.month() != last.month() {
        start.format("%-d %B").to_string()
    } else {
        start.format("%-d").to_string()
    };
    format!("{first} to {}", day(last))
}

/// A day: "15 April 2026".
pub fn day(date: NaiveDate) -> String {
    date.format("%-d %B %Y").to_string()
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = [
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];
/// Names of large numbers in rupees, largest first.
const INDIAN: [(u64, &str); 3] = [
    (10_000_000, "crore"),
    (100_000, "lakh"),
    (1_000, "thousand"),
];
/// Names of large numbers in other currencies, largest first.
const SHORT: [(u64, &str); 4] = [
    (1_000_000_000_000, "trillion"),
    (1_000_000_000, "billion"),
    (1_000_000, "million"),
    (1_000, "thousand"),
];

/// An amount in words: "Rupees eleven thousand eight hundred and paise fifty only".
pub fn amount(money: Money) -> String {
    let text = money.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (" minus", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let read = |digits: &str| digits.parse::<u64>().unwrap_or(0);
    let (unit, part) = units(money.currency());
    let scales: &[(u64, &str)] = if money.currency() == Currency::Inr {
        &INDIAN
    } else {
        &SHORT
    };
    let major = number(read(whole), scales);
    match read(fraction) {
        0 => format!("{unit}{sign} {major} only"),
        minor => format!(
            "{unit}{sign} {major} and {part} {} only",
            number(minor, scales)
        ),
    }
}

const fn units(currency: Currency) -> (&'static str, &'static str) {
    match currency {
        Currency::Aed => ("UAE dirhams", "fils"),
        Currency::Eur => ("Euros", "cents"),
        Currency::Gbp => ("Pounds sterling", "pence"),
        Currency::Inr => ("Rupees", "paise"),
        Currency::Jpy => ("Yen", ""),
        Currency::Kwd => ("Kuwaiti dinars", "fils"),
        Currency::Sgd => ("Singapore dollars", "cents"),
        Currency::Usd => ("US dollars", "cents"),
    }
}

/// A whole number in words.
fn number(value: u64, scales: &[(u64, &str)]) -> String {
    for (size, name) in scales {
        if *size <= value {
            let head = format!("{} {name}", number(value / size, scales));
            return match value % size {
                0 => head,
                rest => format!("{head} {}", number(rest, scales)),
            };
        }
    }
    match (value / 100, value % 100) {
        (0, rest) => below_hundred(rest),
        (hundreds, 0) => format!("{} hundred", word(&SMALL, hundreds)),
        (hundreds, rest) => format!("{} hundred {}", word(&SMALL, hundreds), below_hundred(rest)),
    }
}

fn below_hundred(value: u64) -> String {
    if value < 20 {
        return word(&SMALL, value).to_owned();
    }
    match (value / 10, value % 10) {
        (tens, 0) => word(&TENS, tens).to_owned(),
        (tens, ones) => format!("{}-{}", word(&TENS, tens), word(&SMALL, ones)),
    }
}

fn word(words: &[&'static str], place: u64) -> &'static str {
    let place = usize::try_from(place).ok();
    place
        .and_then(|place| words.get(place))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn a_line_is_a_sentence_that_a_customer_understands() {
        let support = Charged {
            kind: LineKind::Subscription,
            family: "SUPPORT",
            plan: "business",
            cycle: "",
            period: (on("2026-04-15"), on("2026-05-01")),
            days: Some((16, 30)),
        };
        assert_eq!(
            line(&support),
            "Support plan Business, 15 to 30 April 2026, 16 of 30 days"
        );
        let whole = Charged {
            period: (on("2026-04-01"), on("2026-05-01")),
            days: Some((30, 30)),
            ..support
        };
        assert_eq!(line(&whole), "Support plan Business, 1 to 30 April 2026");
        let last = Charged {
            period: (on("2026-04-30"), on("2026-05-01")),
            days: Some((1, 30)),
            ..support
        };
        assert_eq!(
            line(&last),
            "Support plan Business, 30 April 2026, 1 of 30 days"
        );
        let cycle = Charged {
            family: "PLATFORM",
            plan: "growth",
            cycle: "QUARTERLY",
            period: (on("2026-12-15"), on("2027-03-15")),
            days: None,
            ..support
        };
        assert_eq!(
            line(&cycle),
            "Platform plan Growth, quarterly, 15 December 2026 to 14 March 2027"
        );
        let credit = Charged {
            kind: LineKind::Credits,
            family: "",
            plan: "",
            cycle: "",
            period: (on("2026-04-15"), on("2026-04-16")),
            days: None,
        };
        assert_eq!(line(&credit), "Prepaid credit");
        let usage = Charged {
            kind: LineKind::Usage,
            period: (on("2026-04-15"), on("2026-05-15")),
            ..credit
        };
        assert_eq!(line(&usage), "Usage, 15 April to 14 May 2026");
    }

    #[test]
    fn amounts_in_words_follow_their_currency() {
        let said = |minor, currency| amount(Money::from_minor(minor, currency));
        for (minor, currency, words) in [
            (
                1_234_567_50,
                Currency::Inr,
                "Rupees twelve lakh thirty-four thousand five hundred sixty-seven and paise fifty only",
            ),
            (
                3_00_00_00_000_00,
                Currency::Inr,
                "Rupees three hundred crore only",
            ),
            (0, Currency::Inr, "Rupees zero only"),
            (
                1_234_567_05,
                Currency::Usd,
                "US dollars one million two hundred thirty-four thousand five hundred sixty-seven and cents five only",
            ),
            (1_019, Currency::Jpy, "Yen one thousand nineteen only"),
            (
                1_500,
                Currency::Kwd,
                "Kuwaiti dinars one and fils five hundred only",
            ),
            (-80_00, Currency::Eur, "Euros minus eighty only"),
        ] {
            assert_eq!(said(minor, currency), words);
        }
    }
}
