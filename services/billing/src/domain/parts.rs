//! Bisection of a chunk that the database refuses, until the accounts at fault are isolated.

use std::ops::Range;

/// The parts of a chunk still to be written, in order.
///
/// One bad account among `n` costs about `2 * log2(n)` attempts, so that a run finishes whatever its chunk size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// A stack: the next part is at the end.
    waiting: Vec<Range<usize>>,
}

impl Parts {
    /// A chunk of `count` accounts as one part, which is empty if `count` is 0.
    pub fn whole(count: usize) -> Self {
        Self {
            waiting: std::iter::once(0..count).collect(),
        }
    }

    /// Takes the next part to write.
    pub fn take(&mut self) -> Option<Range<usize>> {
        self.waiting.pop()
    }

    /// Whether the part taken last is the last of the chunk.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues both halves of a refused part. Returns `false` for a part of one account, which is the one at fault.
    pub fn halve(&mut self, refused: &Range<usize>) -> bool {
        if refused.len() < 2 {
            return false;
        }
        let middle = refused.start + refused.len() / 2;
        self.waiting.push(middle..refused.end);
        self.waiting.push(refused.start..middle);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The parts written, the accounts parked, and the number of parts attempted.
    fn written(count: usize, bad: &BTreeSet<usize>) -> (Vec<Range<usize>>, Vec<usize>, usize) {
        let (mut written, mut parked, mut tried) = (Vec::new(), Vec::new(), 0);
        let mut parts = Parts::whole(count);
        while let Some(part) = parts.take() {
            tried += 1;
            if bad.range(part.clone()).next().is_none() {
                written.push(part);
            } else if !parts.halve(&part) {
                parked.push(part.start);
            }
        }
        (written, parked, tried)
    }

    #[test]
    fn a_chunk_without_a_bad_account_is_one_part() {
        // A shard can end with an empty chunk.
        for count in [10_000, 1, 0] {
            let (parts, parked, tried) = written(count, &BTreeSet::new());
            assert_eq!((parts.len(), parked.len(), tried), (1, 0, 1));
            assert_eq!(parts[0], 0..count);
        }
    }

    #[test]
    fn a_bad_account_is_halved_towards() {
        let (parts, parked, tried) = written(8, &BTreeSet::from([5]));
        assert_eq!(parts, [0..4, 4..5, 6..8]);
        assert_eq!((parked, tried), (vec![5], 7), "8, 4, 4, 2, 1, 1 and 2");
        let (_, parked, tried) = written(10_000, &BTreeSet::from([6_789]));
        assert_eq!(parked, [6_789]);
        assert!(tried <= 29, "{tried} parts for one of 10,000");
    }

    #[test]
    fn where_all_are_bad_all_are_parked() {
        let (parts, parked, _) = written(50, &(0..50).collect());
        assert_eq!((parts, parked), (Vec::new(), (0..50).collect()));
    }

    proptest! {
        #[test]
        fn each_account_is_written_or_parked_once_and_in_order(
            count in 1_usize..3_000,
            bad in proptest::collection::btree_set(0_usize..3_000, 0..20),
        ) {
            let bad: BTreeSet<usize> = bad.into_iter().filter(|it| *it < count).collect();
            let (parts, parked, tried) = written(count, &bad);
            prop_assert!(parts.is_sorted_by(|a, b| a.end <= b.start));
            let good: Vec<usize> = parts.into_iter().flatten().collect();
            let expected: Vec<usize> = (0..count).filter(|it| !bad.contains(it)).collect();
            prop_assert_eq!(good, expected);
            prop_assert_eq!(parked, bad.iter().copied().collect::<Vec<_>>());
            let levels = usize::try_from(count.next_power_of_two().ilog2()).unwrap();
            prop_assert!(tried <= 1 + 2 * levels * bad.len(), "{} parts", tried);
        }
    }
}
