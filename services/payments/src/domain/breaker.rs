//! Circuit breaker: whether a provider is reachable, as observed by this process.

use std::time::{Duration, Instant};

/// Consecutive calls without an answer that open a breaker.
const OPENS_AFTER: u32 = 3;
/// Interval between probes of an unreachable provider.
const PROBE_EVERY: Duration = Duration::from_secs(5);

/// The breaker is closed while the provider answers. While open it admits one call per interval, the probe; the first
/// answer closes it.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Consecutive calls without an answer.
    failures: u32,
    /// When the next probe is due; `None` while the breaker is closed.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// How many calls may be made at `now`, at most `most`. An admitted probe counts as made.
    pub fn room(&mut self, now: Instant, most: i64) -> i64 {
        match self.probe_at {
            None => most,
            Some(due) if due <= now => {
                self.probe_at = Some(now + PROBE_EVERY);
                most.min(1)
            }
            Some(_) => 0,
        }
    }

    /// Records an answer of the provider. Returns whether the breaker was open until now.
    pub fn reached(&mut self) -> bool {
        self.failures = 0;
        self.probe_at.take().is_some()
    }

    /// Records a call without an answer at `now`.
    pub fn missed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if OPENS_AFTER <= self.failures && self.probe_at.is_none() {
            self.probe_at = Some(now + PROBE_EVERY);
        }
    }

    /// Whether the breaker is open.
    pub const fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_breaker_lets_one_probe_through_at_a_time_and_closes_with_the_first_answer() {
        let begun = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..OPENS_AFTER {
            assert_eq!(breaker.room(begun, 32), 32);
            breaker.missed(begun);
        }
        assert!(breaker.is_open());
        // During an outage of 66 minutes, probes keep their interval of five seconds.
        let probes: i64 = (1..=66 * 60)
            .map(|second| {
                let now = begun + Duration::from_secs(second);
                let room = breaker.room(now, 32);
                if 0 < room {
                    breaker.missed(now);
                }
                room
            })
            .sum();
        assert_eq!(probes, 66 * 60 / 5);
        let recovered = begun + Duration::from_secs(66 * 60 + 5);
        assert_eq!(breaker.room(recovered, 32), 1);
        assert!(breaker.reached(), "the breaker was open");
        assert!(!breaker.reached(), "the breaker is closed again");
        assert_eq!(breaker.room(recovered, 32), 32);
    }

    #[test]
    fn an_answer_between_failures_keeps_a_breaker_closed() {
        let begun = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.missed(begun);
            breaker.missed(begun);
            assert!(!breaker.reached());
        }
        assert!(!breaker.is_open());
    }
}
