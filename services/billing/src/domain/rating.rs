//! The one pure function that rates a month: quote, preview, run, closing and explanation use it.
//!
//! Rules, cited as R-n in this file:
//! 1. Days are calendar days in the family's zone. A day belongs to the highest-ranked plan that
//!    started on it, else to the plan in force when it began; of equal ranks the one started last.
//!    The day of the start and the day of the closing count (C-05, REQ-013, REQ-035).
//! 2. A group is an account outside any contract, or a contract with all its members. A day of an
//!    account belongs to the group that governs the plan which owns the day (C-07, D16).
//! 3. The base of a group is the usage of its accounts on the days that are its own; usage on a
//!    day that no plan owns joins the next owned day, else the last one before (D14). A negative
//!    base counts as 0.
//! 4. A group's day has the highest-ranked of its members' plans. Successive days of one plan are a
//!    slice, and a slice is a line.
//! 5. A line is `monthly total × days ÷ days in month`. Slices of one group whose monthly totals
//!    are equal are rounded together, once, and share the result by largest remainder, ties to the
//!    earliest: they add up (REQ-016, D10).

use std::collections::BTreeMap;

use thiserror::Error;
use uuid::Uuid;
use values::{Ratio, Rounding};

use super::charge::Terms;

/// The most days a month has.
const DAYS_MAX: usize = 31;

/// A stretch of an account's timeline, in days counted from the first of the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The root account.
    pub root: Uuid,
    /// Which of the terms is in force.
    pub terms: usize,
    /// The contract that governs it.
    pub contract: Option<Uuid>,
    /// Whether another payer pays for it: its days are not this payer's.
    pub paid_elsewhere: bool,
    /// The day it began on; below zero for before the month.
    pub start_day: i32,
    /// The day after its last.
    pub end_day: i32,
}

/// What an account used on a day: counted categories only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The root account.
    pub root: Uuid,
    /// The day, counted from the first of the month; any value for late usage.
    pub day: i32,
    /// Millionths of the currency unit; negative for corrections.
    pub micros: i64,
}

/// A line of an invoice: one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which of the terms.
    pub terms: usize,
    /// The contract that governs it.
    pub contract: Option<Uuid>,
    /// The first of its days, counted from the first of the month.
    pub first_day: u32,
    /// How many days it has, at least one.
    pub days: u32,
    /// The base of its group, in millionths, never negative.
    pub base_micros: i64,
    /// The whole month's charge, in exact minor units.
    pub monthly_total: Ratio,
    /// The result, in minor units.
    pub minor: i64,
}

/// Why a payer's month can't be rated. It is parked, alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unratable {
    /// A sum left its range.
    #[error("a sum is out of range")]
    OutOfRange,
    /// A span names terms that are not there, or the month has no or too many days.
    #[error("the timeline does not fit the month")]
    BadTimeline,
}

/// Which span owns each day of one account; `None` where no plan was in force.
///
/// `spans` are of one account, in order of their start.
pub fn owners(spans: &[Span], terms: &[Terms], days_in_month: usize) -> Vec<Option<usize>> {
    let rank = |index: usize| {
        spans
            .get(index)
            .and_then(|span| terms.get(span.terms))
            .map(|terms| terms.rank)
    };
    let day_of = |day: usize| i32::try_from(day).unwrap_or(i32::MAX);
    let mut owners = Vec::with_capacity(days_in_month);
    let mut carried: Option<usize> = None;
    let mut next = 0;
    while spans.get(next).is_some_and(|span| span.start_day < 0) {
        carried = Some(next);
        next += 1;
    }
    for day in (0..days_in_month).map(day_of) {
        let mut started: Option<usize> = None;
        while spans.get(next).is_some_and(|span| span.start_day == day) {
            // Of equal ranks the later start wins.
            if started.is_none_or(|best| rank(best) <= rank(next)) {
                started = Some(next);
            }
            carried = Some(next);
            next += 1;
        }
        let in_force = |index: &usize| spans.get(*index).is_some_and(|span| day < span.end_day);
        // What started today owns the day even if it ended today; what was carried in must last.
        owners.push(started.or_else(|| carried.filter(in_force)));
    }
    owners
}

/// The lines of one payer's month, in order of contract and day.
///
/// `spans` hold the whole timelines of the accounts that the payer pays for, in order of account
/// and start, the parts that another pays for included; `used` is their usage in any order.
///
/// # Errors
/// `OutOfRange` when a sum leaves 64 bits; `BadTimeline` for input that no timeline gives.
pub fn rate(
    spans: &[Span],
    used: &[Used],
    terms: &[Terms],
    days_in_month: u32,
) -> Result<Vec<Line>, Unratable> {
    let days = usize::try_from(days_in_month).map_err(|_| Unratable::BadTimeline)?;
    if days == 0 || DAYS_MAX < days || spans.iter().any(|span| terms.len() <= span.terms) {
        return Err(Unratable::BadTimeline);
    }
    let mut groups: BTreeMap<Option<Uuid>, Group> = BTreeMap::new();
    let mut usage = by_root(used);
    for timeline in spans.chunk_by(|a, b| a.root == b.root) {
        let owners = owners(timeline, terms, days);
        let own = |index: usize| timeline.get(index).filter(|span| !span.paid_elsewhere);
        for (day, span) in owners
            .iter()
            .enumerate()
            .filter_map(|(day, owner)| Some((day, own((*owner)?)?)))
        {
            groups
                .entry(span.contract)
                .or_default()
                .give(day, span.terms, terms);
        }
        let Some(root) = timeline.first().map(|span| span.root) else {
            continue;
        };
        for entry in usage.remove(&root).unwrap_or_default() {
            let owner = nearest_owned(&owners, entry.day);
            if let Some(span) = owner.and_then(own) {
                let group = groups.entry(span.contract).or_default();
                group.base_micros += i128::from(entry.micros);
            }
        }
    }
    let mut lines = Vec::new();
    for (contract, group) in groups {
        lines.extend(group.lines(contract, terms, days_in_month)?);
    }
    Ok(lines)
}

/// Days and usage of an account or a contract.
#[derive(Default)]
struct Group {
    /// Which terms each day has.
    days: [Option<usize>; DAYS_MAX],
    /// May be negative until it is used.
    base_micros: i128,
}

impl Group {
    /// Notes that `terms_index` is in force on `day` for one of the members.
    fn give(&mut self, day: usize, terms_index: usize, terms: &[Terms]) {
        let rank = |index: usize| terms.get(index).map(|terms| (terms.rank, index));
        if let Some(slot) = self.days.get_mut(day)
            && slot.is_none_or(|held| rank(held) < rank(terms_index))
        {
            *slot = Some(terms_index);
        }
    }

    /// # Errors
    /// `OutOfRange`, `BadTimeline`.
    fn lines(
        self,
        contract: Option<Uuid>,
        terms: &[Terms],
        days_in_month: u32,
    ) -> Result<Vec<Line>, Unratable> {
        let base_micros =
            i64::try_from(self.base_micros.max(0)).map_err(|_| Unratable::OutOfRange)?;
        let mut lines: Vec<Line> = Vec::new();
        let mut first_day: u32 = 0;
        for slice in self.days.chunk_by(|a, b| a == b) {
            let days = u32::try_from(slice.len()).map_err(|_| Unratable::BadTimeline)?;
            if let Some(Some(index)) = slice.first().copied() {
                let owned = terms.get(index).ok_or(Unratable::BadTimeline)?;
                let monthly_total = owned
                    .charge
                    .monthly_total(base_micros, owned.currency)
                    .ok_or(Unratable::OutOfRange)?;
                lines.push(Line {
                    terms: index,
                    contract,
                    first_day,
                    days,
                    base_micros,
                    monthly_total,
                    minor: 0,
                });
            }
            first_day += days;
        }
        round_together(&mut lines, terms, days_in_month)?;
        Ok(lines)
    }
}

/// Rounds the lines of one group: those of equal monthly total together.
///
/// # Errors
/// `OutOfRange`.
fn round_together(
    lines: &mut [Line],
    terms: &[Terms],
    days_in_month: u32,
) -> Result<(), Unratable> {
    let share = |total: Ratio, days: u32| {
        total
            .times(i128::from(days))?
            .over(i128::from(days_in_month))
    };
    for index in 0..lines.len() {
        let Some(&Line {
            monthly_total: total,
            terms: own,
            ..
        }) = lines.get(index)
        else {
            break;
        };
        let rounding = terms
            .get(own)
            .map_or(Rounding::HalfUp, |terms| terms.rounding);
        let first = lines.iter().position(|line| line.monthly_total == total);
        if first != Some(index) {
            continue; // Rounded with an earlier line.
        }
        let mut alike: Vec<&mut Line> = lines
            .iter_mut()
            .filter(|line| line.monthly_total == total)
            .collect();
        let days = alike.iter().map(|line| line.days).sum();
        let whole = share(total, days)
            .ok_or(Unratable::OutOfRange)?
            .rounded(rounding);
        let exact = alike
            .iter()
            .map(|line| share(total, line.days))
            .collect::<Option<Vec<_>>>();
        let parts = largest_remainder(whole, &exact.ok_or(Unratable::OutOfRange)?);
        for (line, part) in alike.iter_mut().zip(parts) {
            line.minor = i64::try_from(part).map_err(|_| Unratable::OutOfRange)?;
        }
    }
    Ok(())
}

/// Splits `whole` into one integer for each exact share: its floor, and one more for those with the
/// largest fractions, ties to the earliest, until they add up. The shares add up to less than one
/// away from `whole`.
pub fn largest_remainder(whole: i128, shares: &[Ratio]) -> Vec<i128> {
    let mut parts: Vec<i128> = shares.iter().map(|share| share.floor()).collect();
    let missing = usize::try_from(whole - parts.iter().sum::<i128>()).unwrap_or(0);
    let mut order: Vec<(usize, Ratio)> = shares
        .iter()
        .map(|share| share.fraction())
        .enumerate()
        .collect();
    order.sort_by(|(a, x), (b, y)| y.cmp(x).then(a.cmp(b)));
    for (index, _) in order.into_iter().take(missing) {
        if let Some(part) = parts.get_mut(index) {
            *part += 1;
        }
    }
    parts
}

fn by_root(used: &[Used]) -> BTreeMap<Uuid, Vec<Used>> {
    let mut by_root: BTreeMap<Uuid, Vec<Used>> = BTreeMap::new();
    for entry in used {
        by_root.entry(entry.root).or_default().push(*entry);
    }
    by_root
}

/// The owner of `day`; of the next owned day when nobody owns it; else of the last one before.
fn nearest_owned(owners: &[Option<usize>], day: i32) -> Option<usize> {
    let from = usize::try_from(day.max(0)).unwrap_or(0).min(owners.len());
    let (before, after) = owners.split_at_checked(from)?;
    after
        .iter()
        .flatten()
        .next()
        .or_else(|| before.iter().flatten().next_back())
        .copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use values::Currency;

    use super::*;
    use crate::domain::charge::{Charge, Tier};

    const UNIT: i64 = 1_000_000;
    const ROOT: Uuid = Uuid::from_u128(1);

    fn percent(rank: i32, rate_bps: u32, minimum_minor: i64) -> Terms {
        let tiers = vec![Tier {
            up_to_micros: None,
            rate_bps,
        }];
        terms(
            rank,
            Charge::Percent {
                tiers,
                minimum_minor,
                maximum_minor: None,
            },
        )
    }

    fn terms(rank: i32, charge: Charge) -> Terms {
        Terms {
            plan_code: format!("rank{rank}"),
            catalogue_version: "v1".to_owned(),
            rank,
            currency: Currency::Usd,
            charge,
            rounding: Rounding::HalfUp,
        }
    }

    /// Developer, Production, Business, Personalized, as the catalogue has them.
    fn support() -> Vec<Terms> {
        vec![
            terms(0, Charge::Free),
            percent(1, 400, 250_00),
            percent(2, 600, 1500_00),
            percent(3, 800, 5000_00),
        ]
    }

    /// Spans of one account: (day of the start, which terms).
    fn timeline(starts: &[(i32, usize)]) -> Vec<Span> {
        let ends = starts
            .iter()
            .skip(1)
            .map(|(day, _)| day + 1)
            .chain([i32::MAX]);
        let span = |((start_day, terms), end_day): (&(i32, usize), i32)| Span {
            root: ROOT,
            terms: *terms,
            contract: None,
            paid_elsewhere: false,
            start_day: *start_day,
            end_day,
        };
        starts.iter().zip(ends).map(span).collect()
    }

    #[track_caller]
    fn check(
        starts: &[(i32, usize)],
        usage_units: i64,
        days_in_month: u32,
        expected: &[(u32, i64)],
    ) {
        let used = [Used {
            root: ROOT,
            day: 0,
            micros: usage_units * UNIT,
        }];
        let lines = rate(&timeline(starts), &used, &support(), days_in_month).unwrap();
        let got: Vec<_> = lines.iter().map(|line| (line.days, line.minor)).collect();
        assert_eq!(got, expected, "{starts:?}");
    }

    #[test]
    fn changes_in_mid_month_are_pro_rated_by_day() {
        check(
            &[(-1, 1), (14, 2)],
            40_000,
            30,
            &[(14, 746_67), (16, 1280_00)],
        );
        check(
            &[(-1, 2), (19, 1)],
            40_000,
            30,
            &[(19, 1520_00), (11, 586_67)],
        );
        check(&[(-1, 0), (29, 2)], 40_000, 30, &[(29, 0), (1, 80_00)]);
        check(&[(-1, 2)], 40_000, 30, &[(30, 2400_00)]);
        check(&[(-1, 0)], 100_000, 30, &[(30, 0)]);
        check(&[(14, 2)], 40_000, 30, &[(16, 1280_00)]); // created on the 15th
    }

    #[test]
    fn several_changes_on_one_day_give_it_to_the_highest_rank() {
        check(
            &[(-1, 0), (14, 2), (14, 0)],
            40_000,
            30,
            &[(14, 0), (1, 80_00), (15, 0)],
        );
        check(
            &[(-1, 1), (14, 3), (14, 2), (14, 1)],
            0,
            30,
            &[(14, 116_67), (1, 166_67), (15, 125_00)],
        );
    }

    #[test]
    fn a_closed_account_pays_up_to_its_closing_day() {
        let closed = [Span {
            end_day: 10,
            ..timeline(&[(-1, 2)])[0]
        }];
        let lines = rate(&closed, &[], &support(), 30).unwrap();
        assert_eq!((lines[0].days, lines[0].minor), (10, 500_00));
    }

    #[test]
    fn a_contract_pools_usage_and_has_one_minimum() {
        let contract = Some(Uuid::from_u128(99));
        let member = |id| Span {
            root: Uuid::from_u128(id),
            terms: 2,
            contract,
            paid_elsewhere: false,
            start_day: -1,
            end_day: 30,
        };
        let used = [(1, 10_000), (2, 15_000), (3, 10_000)].map(|(id, units)| Used {
            root: Uuid::from_u128(id),
            day: 3,
            micros: units * UNIT,
        });
        let lines = rate(&[member(1), member(2), member(3)], &used, &support(), 30).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].contract, lines[0].days, lines[0].minor),
            (contract, 30, 2100_00)
        );
    }

    #[test]
    fn a_member_that_joins_in_mid_month_brings_the_usage_of_its_member_days_only() {
        let contract = Some(Uuid::from_u128(99));
        let payer = Span {
            root: ROOT,
            terms: 2,
            contract,
            paid_elsewhere: false,
            start_day: -1,
            end_day: 30,
        };
        let joiner = Uuid::from_u128(2);
        let own = Span {
            root: joiner,
            terms: 1,
            contract: None,
            paid_elsewhere: true,
            start_day: -1,
            end_day: 10,
        };
        let shared = Span {
            root: joiner,
            terms: 2,
            contract,
            paid_elsewhere: false,
            start_day: 9,
            end_day: 30,
        };
        let used = [(8, 1_000), (9, 30_000), (29, 10_000)].map(|(day, units)| Used {
            root: joiner,
            day,
            micros: units * UNIT,
        });

        let pool = rate(&[payer, own, shared], &used, &support(), 30).unwrap();
        assert_eq!(
            pool.iter()
                .map(|line| (line.base_micros, line.minor))
                .collect::<Vec<_>>(),
            [(40_000 * UNIT, 2400_00)]
        );

        let flipped = [
            Span {
                paid_elsewhere: false,
                ..own
            },
            Span {
                paid_elsewhere: true,
                ..shared
            },
        ];
        let alone = rate(&flipped, &used, &support(), 30).unwrap();
        assert_eq!(
            alone
                .iter()
                .map(|line| (line.base_micros, line.days, line.minor))
                .collect::<Vec<_>>(),
            [(1_000 * UNIT, 9, 75_00)]
        );
    }

    #[test]
    fn slices_of_equal_price_add_up_to_it() {
        let same = vec![
            terms(0, Charge::Flat { minor: 10_00 }),
            terms(1, Charge::Flat { minor: 10_00 }),
            terms(2, Charge::Flat { minor: 10_00 }),
        ];
        let lines = rate(&timeline(&[(-1, 0), (10, 1), (20, 2)]), &[], &same, 31).unwrap();
        assert_eq!(
            lines.iter().map(|line| line.minor).collect::<Vec<_>>(),
            [3_23, 3_22, 3_55]
        );
    }

    #[test]
    fn sums_out_of_range_are_refused_not_wrapped() {
        let dear = vec![terms(
            0,
            Charge::Percent {
                tiers: vec![Tier {
                    up_to_micros: None,
                    rate_bps: 10_000,
                }],
                minimum_minor: 0,
                maximum_minor: None,
            },
        )];
        let used = [
            Used {
                root: ROOT,
                day: 0,
                micros: i64::MAX,
            },
            Used {
                root: ROOT,
                day: 1,
                micros: 1,
            },
        ];
        assert_eq!(
            rate(&timeline(&[(-1, 0)]), &used, &dear, 30),
            Err(Unratable::OutOfRange)
        );
        assert_eq!(
            rate(&timeline(&[(-1, 7)]), &[], &dear, 30),
            Err(Unratable::BadTimeline)
        );
        assert_eq!(
            rate(&timeline(&[(-1, 0)]), &[], &dear, 0),
            Err(Unratable::BadTimeline)
        );
    }

    /// Any history of an account in a month of 28 to 31 days: starts in order, the first at or
    /// before the month or within it.
    fn histories() -> impl Strategy<Value = (Vec<(i32, usize)>, u32, i64)> {
        let starts = proptest::collection::vec((-3_i32..31, 0_usize..4), 1..8);
        (
            starts,
            28_u32..=31,
            -1_000_000_000_000_i64..1_000_000_000_000,
        )
            .prop_map(|(mut starts, days, micros)| {
                starts.sort_by_key(|(day, _)| *day);
                let last = i32::try_from(days).unwrap() - 1;
                for (day, _) in &mut starts {
                    *day = (*day).min(last);
                }
                // Before the month only the last start is carried in.
                let carried = starts
                    .iter()
                    .filter(|(day, _)| *day < 0)
                    .count()
                    .saturating_sub(1);
                (starts.split_off(carried), days, micros)
            })
    }

    fn rated(starts: &[(i32, usize)], days: u32, micros: i64) -> Vec<Line> {
        rate(
            &timeline(starts),
            &[Used {
                root: ROOT,
                day: 5,
                micros,
            }],
            &support(),
            days,
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn days_tile_the_month_from_the_first_start_on((starts, days, micros) in histories()) {
            let lines = rated(&starts, days, micros);
            let first = u32::try_from(starts[0].0.max(0)).unwrap();
            prop_assert_eq!(lines.iter().map(|line| line.days).sum::<u32>(), days - first);
            let mut next = first;
            for line in &lines {
                prop_assert_eq!(line.first_day, next);
                next += line.days;
            }
        }

        #[test]
        fn a_plan_in_force_all_month_is_charged_exactly_its_total(plan in 0_usize..4, days in 28_u32..=31, micros: i64) {
            let lines = rated(&[(-1, plan)], days, micros / 1_000);
            let total = support()[plan].charge.monthly_total(micros / 1_000, Currency::Usd).unwrap();
            prop_assert_eq!(i128::from(lines[0].minor), total.rounded(Rounding::HalfUp));
        }

        #[test]
        fn no_line_is_negative_and_none_is_more_than_its_month((starts, days, micros) in histories()) {
            for line in rated(&starts, days, micros) {
                prop_assert!(0 <= line.minor);
                prop_assert!(Ratio::whole(i128::from(line.minor) - 1) < line.monthly_total);
            }
        }

        #[test]
        fn a_history_cut_into_finer_slices_costs_the_same((starts, days, micros) in histories(), cuts in proptest::collection::vec(0_i32..31, 0..6)) {
            let whole = rated(&starts, days, micros);
            let mut finer = starts.clone();
            for cut in cuts {
                // A new start of the plan in force, on a day on which nothing else starts.
                let held = starts.iter().rfind(|(day, _)| *day < cut).map(|(_, plan)| *plan);
                if let Some(plan) = held && !finer.iter().any(|(day, _)| *day == cut) && cut < i32::try_from(days).unwrap() {
                    finer.push((cut, plan));
                }
            }
            finer.sort_by_key(|(day, _)| *day);
            prop_assert_eq!(rated(&finer, days, micros), whole);
        }

        #[test]
        fn slices_of_one_price_always_add_up(cuts in proptest::collection::btree_set(1_i32..31, 0..12), minor in 0_i64..100_000_000) {
            let plans: Vec<Terms> = (0..13).map(|rank| terms(rank, Charge::Flat { minor })).collect();
            let starts: Vec<(i32, usize)> = std::iter::once(-1).chain(cuts).enumerate().map(|(n, day)| (day, n)).collect();
            let lines = rate(&timeline(&starts), &[], &plans, 31).unwrap();
            prop_assert_eq!(lines.iter().map(|line| line.minor).sum::<i64>(), minor);
        }
    }
}
