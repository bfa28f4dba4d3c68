//! The charge for a whole month of a plan.

use values::{Amount, Currency, Ratio, Rounding};

/// The pricing model of a plan's month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// Free of charge.
    Free,
    /// A fixed amount per month.
    Flat {
        /// Amount in minor units.
        minor: i64,
    },
    /// A graduated percentage of the month's usage, between a minimum and a maximum.
    Percent {
        /// The tiers, lowest first; the last one is unbounded.
        tiers: Vec<Tier>,
        /// Minimum in minor units.
        minimum_minor: i64,
        /// Maximum in minor units; `None` if unbounded.
        maximum_minor: Option<i64>,
    },
}

/// A tier of a percentage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// Inclusive upper bound of usage in millionths; `None` for the last.
    pub up_to_micros: Option<i64>,
    /// Rate in basis points: 600 is 6 %.
    pub rate_bps: u32,
}

/// The terms of a plan in one catalogue version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The plan's code.
    pub plan_code: String,
    /// The catalogue version.
    pub catalogue_version: String,
    /// The plan's rank in its family.
    pub rank: i32,
    /// The currency of its prices.
    pub currency: Currency,
    /// The pricing model.
    pub charge: Charge,
    /// The rounding mode of its invoice lines.
    pub rounding: Rounding,
}

impl Charge {
    /// The charge for a whole month on `base_micros` of usage, in exact minor units.
    ///
    /// FREE is 0, FLAT its amount, and PERCENT is `min(maximum, max(minimum, Σ tier share × rate))`, where each tier
    /// takes the usage above the previous bound up to and including its own. The usage is that of the whole month;
    /// proration by active days follows later (C-06). A negative base counts as 0.
    ///
    /// Source: REQ-008, D10. `None` if it overflows `i128`, which no `i64` base can cause.
    pub fn monthly_total(&self, base_micros: i64, currency: Currency) -> Option<Ratio> {
        match self {
            Self::Free => Some(Ratio::ZERO),
            Self::Flat { minor } => Some(Ratio::whole(i128::from(*minor))),
            Self::Percent {
                tiers,
                minimum_minor,
                maximum_minor,
            } => {
                // The unit is millionths × basis points; `per_minor` of these make a minor unit.
                let weighted = weighted(tiers, i128::from(base_micros.max(0)))?;
                let per_minor = i128::from(currency.micros_per_minor()).checked_mul(10_000)?;
                let share = Ratio::new(weighted, per_minor);
                let at_least = share.max(Ratio::whole(i128::from(*minimum_minor)));
                let most = maximum_minor.map(|maximum| Ratio::whole(i128::from(maximum)));
                Some(most.map_or(at_least, |most| at_least.min(most)))
            }
        }
    }

    /// Whether a month is free, whatever the usage.
    pub const fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// The pricing in words: "6% of usage, at least 1500.00".
    pub fn in_words(&self, currency: Currency) -> String {
        let money = |minor| values::Money::from_minor(minor, currency).to_string();
        match self {
            Self::Free => "free".to_owned(),
            Self::Flat { minor } => format!("{} a month", money(*minor)),
            Self::Percent {
                tiers,
                minimum_minor,
                maximum_minor,
            } => {
                let tiers: Vec<_> = tiers
                    .iter()
                    .map(|tier| match tier.up_to_micros {
                        Some(bound) => format!(
                            "{} up to {:#}",
                            percent(tier.rate_bps),
                            Amount::from_micros(bound, currency)
                        ),
                        None => format!("{} of usage", percent(tier.rate_bps)),
                    })
                    .collect();
                let maximum = maximum_minor
                    .map(|maximum| format!(", at most {}", money(maximum)))
                    .unwrap_or_default();
                format!(
                    "{}, at least {}{maximum}",
                    tiers.join(", then "),
                    money(*minimum_minor)
                )
            }
        }
    }
}

/// "6%", "12.5%", "0.75%".
fn percent(bps: u32) -> String {
    let (whole, rest) = (bps / 100, bps % 100);
    match (rest, rest % 10) {
        (0, _) => format!("{whole}%"),
        (_, 0) => format!("{whole}.{}%", rest / 10),
        _ => format!("{whole}.{rest:02}%"),
    }
}

fn weighted(tiers: &[Tier], base: i128) -> Option<i128> {
    let mut sum: i128 = 0;
    let mut below: i128 = 0;
    for tier in tiers {
        let bound = tier.up_to_micros.map_or(base, i128::from).min(base);
        let share = (bound - below).max(0);
        sum = sum.checked_add(share.checked_mul(i128::from(tier.rate_bps))?)?;
        below = below.max(bound);
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: i64 = 1_000_000;

    fn business() -> Charge {
        Charge::Percent {
            tiers: vec![Tier {
                up_to_micros: None,
                rate_bps: 600,
            }],
            minimum_minor: 1500_00,
            maximum_minor: None,
        }
    }

    #[track_caller]
    fn check(charge: &Charge, usage_units: i64, expected_minor: i128) {
        let total = charge.monthly_total(usage_units * UNIT, Currency::Usd);
        assert_eq!(total, Some(Ratio::whole(expected_minor)), "{usage_units}");
    }

    #[test]
    fn the_greater_of_percentage_and_minimum() {
        check(&business(), 40_000, 2400_00);
        check(&business(), 25_000, 1500_00);
        check(&business(), 10_000, 1500_00);
        check(&business(), 0, 1500_00);
        check(&business(), -40_000, 1500_00);
    }

    #[test]
    fn tiers_are_graduated_and_their_bounds_inclusive() {
        let tiers = vec![
            Tier {
                up_to_micros: Some(10_000 * UNIT),
                rate_bps: 1000,
            },
            Tier {
                up_to_micros: Some(50_000 * UNIT),
                rate_bps: 500,
            },
            Tier {
                up_to_micros: None,
                rate_bps: 100,
            },
        ];
        let charge = Charge::Percent {
            tiers,
            minimum_minor: 100_00,
            maximum_minor: Some(3100_00),
        };
        check(&charge, 0, 100_00);
        check(&charge, 10_000, 1000_00);
        check(&charge, 10_100, 1005_00);
        check(&charge, 50_000, 3000_00);
        check(&charge, 55_000, 3050_00);
        check(&charge, 1_000_000, 3100_00);
    }

    #[test]
    fn a_share_below_the_minor_unit_stays_exact() {
        let charge = Charge::Percent {
            tiers: vec![Tier {
                up_to_micros: None,
                rate_bps: 1,
            }],
            minimum_minor: 0,
            maximum_minor: None,
        };
        assert_eq!(
            charge.monthly_total(7, Currency::Usd),
            Some(Ratio::new(7, 100_000_000))
        );
        assert_eq!(
            charge.monthly_total(i64::MAX, Currency::Usd),
            Some(Ratio::new(i128::from(i64::MAX), 100_000_000))
        );
    }

    #[test]
    fn terms_read_as_people_say_them() {
        assert_eq!(
            business().in_words(Currency::Usd),
            "6% of usage, at least 1500.00"
        );
        assert_eq!(
            Charge::Flat { minor: 250_00 }.in_words(Currency::Usd),
            "250.00 a month"
        );
        assert_eq!(percent(1250), "12.5%");
        assert_eq!(percent(75), "0.75%");
    }
}
