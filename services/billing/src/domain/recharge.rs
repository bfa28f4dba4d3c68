//! When a balance is filled by itself, and by how much (C-28).

/// How much one recharge adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Up to this balance, in one charge.
    TopUpTo(i64),
    /// In multiples of this sum: as many as close the gap, in one charge.
    AddAmount(i64),
}

/// What is set and what is true of an account; sums in one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recharge {
    /// How much it adds.
    pub mode: Mode,
    /// Below this balance it acts.
    pub threshold: i64,
    /// The least a charge may be; 0 for none.
    pub minimum: i64,
    /// The balance; negative when overdrawn.
    pub balance: i64,
    /// Recharges under way: they count as arrived.
    pub pending: i64,
    /// Recharges made this month.
    pub made: u32,
    /// The most in a month.
    pub maximum: Option<u32>,
    /// Failures since the last success.
    pub failures: u32,
}

/// Failures after which it switches itself off, with notice.
pub const FAILURES_MAX: u32 = 3;

/// How many hours are waited after `failures` declines in a row: 1, 4, 16, ….
pub fn back_off(failures: u32) -> i64 {
    4_i64.saturating_pow(failures.saturating_sub(1).min(5))
}

/// Whether recharging may be offered with a card of this country (C-28).
pub fn offered(card_country: &str, excluded_countries: &[String]) -> bool {
    !excluded_countries.iter().any(|it| it == card_country)
}

/// The one charge to make now; `None` when none is due or allowed.
///
/// It never starts while another is under way, at the month's limit, or switched off by failures.
/// The charge closes the whole gap at once, and is at least the minimum.
pub fn due(it: &Recharge) -> Option<i64> {
    let at_limit = it.maximum.is_some_and(|maximum| maximum <= it.made);
    if it.threshold <= it.balance || 0 < it.pending || at_limit || FAILURES_MAX <= it.failures {
        return None;
    }
    let charge = match it.mode {
        Mode::TopUpTo(target) => target.checked_sub(it.balance)?,
        Mode::AddAmount(amount) => {
            let gap = it.threshold.checked_sub(it.balance)?;
            // As many as lift the balance to the threshold or above it, at least one.
            let times = if 0 < amount {
                (gap.checked_add(amount)? - 1) / amount
            } else {
                return None;
            };
            amount.checked_mul(times.max(1))?
        }
    };
    Some(charge.max(it.minimum)).filter(|charge| 0 < *charge)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Recharge = Recharge {
        mode: Mode::TopUpTo(50),
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
    fn one_charge_closes_the_gap_or_none_is_made() {
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
                balance: -9_000,
                ..add
            }),
            Some(10_000)
        );
    }
}
