//! Unit prices of usage sent without a price: calls by pulse, messages by part (REQ-101).

use values::Currency;

/// Unit prices of a catalogue version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// The currency of the prices.
    pub currency: Currency,
    /// Length of a call pulse in seconds, above zero.
    pub pulse_seconds: i64,
    /// The price of a pulse, in millionths.
    pub per_pulse_micros: i64,
    /// The price of a part of a message, in millionths.
    pub per_part_micros: i64,
}

/// The unit of a category's quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds of a call; a started pulse is charged in full.
    Seconds,
    /// Parts of a message.
    Parts,
}

/// A quantity of one, in millionths.
pub const ONE: i64 = 1_000_000;

impl Unit {
    /// The unit of a category: `voice` and `sms`, alone or before a hyphen. `None` for a category without unit price.
    pub fn of(category: &str) -> Option<Self> {
        match category.split('-').next() {
            Some("voice") => Some(Self::Seconds),
            Some("sms") => Some(Self::Parts),
            _ => None,
        }
    }
}

/// The number of pulses or parts charged for a quantity, started ones counted in full; `None` if out of range.
fn count(unit: Unit, quantity_micros: i64, rates: &Rates) -> Option<i64> {
    let size = match unit {
        Unit::Seconds => rates.pulse_seconds.checked_mul(ONE)?,
        Unit::Parts => ONE,
    };
    let begun = |quantity: i64| quantity.checked_add(size - 1).map(|sum| sum / size);
    if quantity_micros < 0 {
        Some(-begun(quantity_micros.checked_neg()?)?)
    } else {
        begun(quantity_micros)
    }
}

/// The price of a corrected quantity at the unit price of the earlier quantity of the same event, whatever the rates
/// are now. `None` if the earlier price does not determine a unit price.
pub fn price_as(
    unit: Unit,
    (earlier_micros, earlier_price): (i64, i64),
    quantity_micros: i64,
    rates: &Rates,
) -> Option<i64> {
    if quantity_micros == earlier_micros {
        return Some(earlier_price);
    }
    let earlier = count(unit, earlier_micros, rates)?;
    let rest = earlier_price.checked_rem(earlier)?;
    let each = earlier_price.checked_div(earlier).filter(|_| rest == 0)?;
    count(unit, quantity_micros, rates)?.checked_mul(each)
}

/// The price of `quantity_micros` of `unit`, in millionths; `None` if out of range.
///
/// Whole pulses and parts are charged. A negative quantity, which takes usage back, credits as many.
pub fn price(unit: Unit, quantity_micros: i64, rates: &Rates) -> Option<i64> {
    let each = match unit {
        Unit::Seconds => rates.per_pulse_micros,
        Unit::Parts => rates.per_part_micros,
    };
    count(unit, quantity_micros, rates)?.checked_mul(each)
}

/// The number of parts of a text message. In the GSM alphabet a single part holds 160 characters and each of several
/// 153; in any other, 70 and 67.
pub fn parts(text: &str) -> usize {
    let gsm: Option<Vec<usize>> = text.chars().map(septets).collect();
    let (places, single, part) = match gsm {
        Some(septets) => (septets, 160, 153),
        None => (text.chars().map(char::len_utf16).collect(), 70, 67),
    };
    if places.iter().sum::<usize>() <= single {
        return 1;
    }
    // A character of two places is never split.
    let (mut parts, mut taken) = (1, 0);
    for place in places {
        if part < taken + place {
            parts += 1;
            taken = 0;
        }
        taken += place;
    }
    parts
}

/// The places a character takes in the GSM 7-bit alphabet (3GPP TS 23.038): two in its extension table; `None` if it
/// isn't in the alphabet.
fn septets(character: char) -> Option<usize> {
    const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?\
                         ¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
    const EXTENSION: &str = "\u{c}^{}\\[~]|€";
    if BASIC.contains(character) {
        Some(1)
    } else if EXTENSION.contains(character) {
        Some(2)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        currency: Currency::Inr,
        pulse_seconds: 60,
        per_pulse_micros: 500_000,
        per_part_micros: 200_000,
    };

    #[test]
    fn req_101_a_pulse_that_has_begun_and_each_part_are_paid() {
        let voice = |seconds: i64| price(Unit::Seconds, seconds * ONE, &RATES);
        assert_eq!(voice(195), Some(2_000_000));
        assert_eq!(voice(180), Some(1_500_000));
        assert_eq!(voice(0), Some(0));
        assert_eq!(voice(-195), Some(-2_000_000));
        assert_eq!(price(Unit::Seconds, 1, &RATES), Some(500_000));
        assert_eq!(price(Unit::Parts, 3 * ONE, &RATES), Some(600_000));
        assert_eq!(price(Unit::Parts, i64::MAX, &RATES), None);
        assert_eq!(price(Unit::Seconds, i64::MIN, &RATES), None);
    }

    #[test]
    fn a_correction_costs_by_the_price_of_what_it_corrects() {
        let dearer = Rates {
            per_part_micros: 250_000,
            ..RATES
        };
        let parts = |earlier, now| price_as(Unit::Parts, earlier, now, &dearer);
        assert_eq!(parts((3 * ONE, 600_000), 3 * ONE), Some(600_000));
        assert_eq!(parts((3 * ONE, 600_000), 2 * ONE), Some(400_000));
        assert_eq!(parts((-3 * ONE, -600_000), -ONE), Some(-200_000));
        assert_eq!(
            parts((0, 0), 2 * ONE),
            None,
            "a quantity of zero has no unit price"
        );
        assert_eq!(parts((3 * ONE, 500_000), 2 * ONE), None);
        assert_eq!(parts((3 * ONE, 500_000), 3 * ONE), Some(500_000));
        assert_eq!(parts((ONE, i64::MAX), 2 * ONE), None);
    }

    #[test]
    fn texts_are_cut_into_parts_by_their_alphabet() {
        for (text, expected) in [
            ("a".repeat(160), 1),
            ("a".repeat(161), 2),
            ("a".repeat(306), 2),
            ("a".repeat(307), 3),
            ("€".repeat(80), 1),
            ("€".repeat(81), 2),
            ("म".repeat(70), 1),
            ("म".repeat(71), 2),
            ("म".repeat(134), 2),
            ("म".repeat(135), 3),
            ("😀".repeat(35), 1),
            ("😀".repeat(36), 2),
            ("😀".repeat(66), 2),
            ("😀".repeat(67), 3),
            ("€".repeat(152), 2),
            ("€".repeat(153), 3),
            (String::new(), 1),
        ] {
            assert_eq!(parts(&text), expected, "{text}");
        }
    }
}
