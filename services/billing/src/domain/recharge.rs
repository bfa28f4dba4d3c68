//! Auto-recharge: when a balance is recharged automatically, and by how much (C-28, D34).

use chrono::TimeDelta;

/// How the amount of a recharge is determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Tops the balance up to a target.
    TopUpTo {
        /// The balance to reach.
        target: i64,
        /// The largest amount of one charge.
        maximum: i64,
    },
    /// Adds a fixed amount.
    AddAmount(i64),
}

/// The settings and the situation of an account. All amounts are in one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recharge {
    /// How the amount is determined.
    pub mode: Mode,
    /// A recharge is due below this balance.
    pub threshold: i64,
    /// The smallest charge the method accepts, at most what the owner agreed to; 0 for none.
    pub minimum: i64,
    /// The balance; negative when overdrawn.
    pub balance: i64,
    /// The amount of recharges under way.
    pub pending: i64,
    /// Number of recharges this month.
    pub made: u32,
    /// Most recharges in a month; `None` if unlimited.
    pub maximum: Option<u32>,
    /// Number of failures since the last success.
    pub failures: u32,
}

/// Failures in a row after which auto-recharge is switched off and the owner notified.
pub const FAILURES_MAX: u32 = 3;
/// Successes within `SUCCESSES_WITHIN` after which auto-recharge pauses and the owner is notified (D34).
pub const SUCCESSES_MAX: i64 = 3;
/// Time window in which successes are counted.
pub const SUCCESSES_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Whether auto-recharge pauses after this number of `successes` within `SUCCESSES_WITHIN`.
pub const fn pauses(successes: i64) -> bool {
    SUCCESSES_MAX <= successes
}

/// Hours to wait after `failures` declines in a row: 1, 4, 16, ….
pub fn back_off(failures: u32) -> i64 {
    4_i64.saturating_pow(failures.saturating_sub(1).min(5))
}

/// Whether auto-recharge may be offered with a card of this country (C-28).
pub fn offered(card_country: &str, excluded_countries: &[String]) -> bool {
    !excluded_countries.iter().any(|it| it == card_country)
}

/// The amount to charge now; `None` if no charge is due or allowed.
///
/// No charge starts while another is under way, at the monthly limit, or after too many failures. It never exceeds
/// what the owner agreed to (D34), whatever the balance: the remaining shortfall waits for the next charge.
pub fn due(it: &Recharge) -> Option<i64> {
    let at_limit = it.maximum.is_some_and(|maximum| maximum <= it.made);
    if it.threshold <= it.balance || 0 < it.pending || at_limit || FAILURES_MAX <= it.failures {
        return None;
    }
    let charge = match it.mode {
        Mode::TopUpTo { target, maximum } => target
            .saturating_sub(it.balance)
            .max(it.minimum)
            .min(maximum),
        Mode::AddAmount(amount) => amount,
    };
    Some(charge).filter(|charge| 0 < *charge)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Recharge = Recharge {
        mode: Mode::TopUpTo {
            target: 50,
            maximum: 50,
        },
        threshold: 20,
        minimum: 0,
        balance: 100,
        pending: 0,
        made: 0,
        maximum: None,
        failures: 0,
    };

    #[test]
    fn each_decline_is_waited_for_longer() {
        assert_eq!([1, 2, 3].map(back_off), [1, 4, 16]);
    }

    #[test]
    fn three_successes_pause_it() {
        assert_eq!([2, 3, 4].map(pauses), [false, true, true]);
    }

    #[test]
    fn no_charge_is_more_than_was_agreed_to() {
        for balance in [i64::MIN, -29_000, -1, 0, 19] {
            let low = Recharge { balance, ..IDLE };
            for minimum in [0, 30, 50] {
                assert!(due(&Recharge { minimum, ..low }).unwrap() <= 50);
            }
            let mode = Mode::AddAmount(5_000);
            assert_eq!(due(&Recharge { mode, ..low }), Some(5_000), "{balance}");
        }
        // The shortfall, unless it is below the method's minimum.
        let low = Recharge {
            balance: 15,
            ..IDLE
        };
        assert_eq!(due(&low), Some(35));
        assert_eq!(due(&Recharge { minimum: 40, ..low }), Some(40));
    }

    #[test]
    fn one_charge_is_made_or_none() {
        assert_eq!(due(&IDLE), None);
        assert_eq!(
            due(&Recharge {
                balance: 19,
                ..IDLE
            }),
            Some(31)
        );
        assert_eq!(
            due(&Recharge {
                balance: 19,
                pending: 1,
                ..IDLE
            }),
            None
        );
        assert_eq!(
            due(&Recharge {
                balance: 19,
                made: 5,
                maximum: Some(5),
                ..IDLE
            }),
            None
        );
        assert_eq!(
            due(&Recharge {
                balance: 19,
                failures: FAILURES_MAX,
                ..IDLE
            }),
            None
        );
        let add = Recharge {
            mode: Mode::AddAmount(5_000),
            threshold: 500,
            balance: 480,
            ..IDLE
        };
        assert_eq!(due(&add), Some(5_000));
        assert_eq!(
            due(&Recharge {
                balance: -29_000,
                ..add
            }),
            Some(5_000),
            "one charge adds the fixed amount once"
        );
    }
}
