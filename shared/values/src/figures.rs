//! Money formatted for people, with currency symbol and digit groups: on papers and in mail.

use crate::{Currency, Money};

/// Formats an amount: "$1,280.00", "₹12,34,567.50", "AED 1,000.00", "-€5.00".
pub fn shown(money: Money) -> String {
    let text = money.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, format!(".{fraction}")),
        None => (digits, String::new()),
    };
    let groups = grouped(whole, money.currency());
    format!("{sign}{}{groups}{fraction}", symbol(money.currency()))
}

const fn symbol(currency: Currency) -> &'static str {
    match currency {
        Currency::Aed => "AED ",
        Currency::Eur => "€",
        Currency::Gbp => "£",
        Currency::Inr => "₹",
        Currency::Jpy => "¥",
        Currency::Kwd => "KWD ",
        Currency::Sgd => "S$",
        Currency::Usd => "$",
    }
}

/// Groups digits by three; for rupees by three, then by two.
fn grouped(digits: &str, currency: Currency) -> String {
    let later = if currency == Currency::Inr { 2 } else { 3 };
    let mut groups = String::new();
    for (place, digit) in digits.chars().rev().enumerate() {
        let starts = place == 3 || (3 < place && (place - 3).is_multiple_of(later));
        if starts {
            groups.push(',');
        }
        groups.push(digit);
    }
    groups.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_have_the_sign_and_the_groups_of_their_currency() {
        let shown = |minor, currency| shown(Money::from_minor(minor, currency));
        assert_eq!(shown(123_456_750, Currency::Inr), "₹12,34,567.50");
        assert_eq!(shown(1_234_567_890_12, Currency::Inr), "₹1,23,45,67,890.12");
        assert_eq!(shown(123_456_750, Currency::Usd), "$1,234,567.50");
        assert_eq!(shown(99_999, Currency::Inr), "₹999.99");
        assert_eq!(shown(-5_00, Currency::Eur), "-€5.00");
        assert_eq!(shown(1_000, Currency::Jpy), "¥1,000");
        assert_eq!(shown(1_000_000, Currency::Kwd), "KWD 1,000.000");
    }
}
