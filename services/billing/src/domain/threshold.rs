//! Balance thresholds and their crossing.

/// A crossed threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    /// `ZERO`: nothing is left to spend. `NOTIFY_BELOW`: the customer is to be notified.
    pub threshold: &'static str,
    /// Whether the balance fell; otherwise it rose.
    pub fell: bool,
}

/// The thresholds crossed when a balance changes from `before` to `after`, in millionths. It is at `ZERO` at 0 or
/// below, and low below `notify_below`.
pub fn crossed(before: i64, after: i64, notify_below: i64) -> Vec<Crossing> {
    let is_low = |balance: i64| balance < notify_below;
    let is_empty = |balance: i64| balance <= 0;
    let mut crossings = Vec::new();
    for (threshold, was, is) in [
        ("NOTIFY_BELOW", is_low(before), is_low(after)),
        ("ZERO", is_empty(before), is_empty(after)),
    ] {
        if was != is {
            crossings.push(Crossing {
                threshold,
                fell: is,
            });
        }
    }
    crossings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_crossed_once_in_each_direction() {
        let names = |before, after| -> Vec<(&str, bool)> {
            crossed(before, after, 5)
                .iter()
                .map(|it| (it.threshold, it.fell))
                .collect()
        };
        assert_eq!(names(10, 6), []);
        assert_eq!(names(10, 5), []);
        assert_eq!(names(10, 4), [("NOTIFY_BELOW", true)]);
        assert_eq!(names(10, 0), [("NOTIFY_BELOW", true), ("ZERO", true)]);
        assert_eq!(names(4, -4), [("ZERO", true)]);
        assert_eq!(names(0, -4), []);
        assert_eq!(names(-4, 5), [("NOTIFY_BELOW", false), ("ZERO", false)]);
    }
}
