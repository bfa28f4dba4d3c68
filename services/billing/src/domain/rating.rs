//! Rating of a month: the one pure function used by quotes, previews, runs, closings and explanations.
//!
//! The rules, cited as R-n in this file:
//! 1. Days are calendar days in the family's time zone. A day belongs to the highest-ranked plan that started on it,
//!    or else to the plan in force when the day began; among equal ranks the latest start wins. The start day and the
//!    closing day are billed (C-05, REQ-013, REQ-035). A change of a contract's payer alone does not start a plan.
//! 2. A pool is an account outside any contract, or the accounts under one contract. A day of an account is in
//!    exactly one pool, the one of the plan that owns the day (C-07). A day of a pool has one payer: the one named
//!    last on that day (D27).
//! 3. A day of a pool is on the highest-ranked plan of its accounts. Consecutive days with the same plan, accounts
//!    and payer form a slice, and each slice is one invoice line (D27).
//! 4. The base of a slice is the whole month's usage of the accounts that are in the pool on its days, including late
//!    usage of earlier months (D14, D27). A negative base counts as 0.
//! 5. A line amounts to `monthly total × days ÷ days in month`. Proration by days happens here and nowhere else
//!    (C-06). A payer's lines of the same plan are summed and rounded once, and the result is split by largest
//!    remainder, ties to the earliest, so that the lines add up (REQ-016, D10). The same holds for lines with equal
//!    monthly totals.

use std::collections::BTreeMap;

use thiserror::Error;
use uuid::Uuid;
use values::{Ratio, Rounding};

use super::charge::Terms;

/// The most days in a month.
const DAYS_MAX: usize = 31;

/// A segment of an account's timeline, in days counted from the first of the month (0).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The root account.
    pub root: Uuid,
    /// Index of the terms in force.
    pub terms: usize,
    /// The contract it is under, if any.
    pub contract: Option<Uuid>,
    /// The root account that pays.
    pub payer: Uuid,
    /// Start day; negative if it started before the month.
    pub start_day: i32,
    /// End day, exclusive.
    pub end_day: i32,
}

/// The month's usage of an account, counted categories only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// The root account.
    pub root: Uuid,
    /// Millionths of the currency unit; negative for corrections.
    pub micros: i64,
}

/// A line of an invoice: one slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Index of its terms.
    pub terms: usize,
    /// The contract it is under, if any.
    pub contract: Option<Uuid>,
    /// Its first day, counted from the first of the month (0).
    pub first_day: u32,
    /// Number of days, at least one.
    pub days: u32,
    /// The month's usage of its accounts, in millionths, never negative.
    pub base_micros: i64,
    /// The whole month's charge, in exact minor units.
    pub monthly_total: Ratio,
    /// The rounded amount in minor units.
    pub minor: i64,
}

/// Why a payer's month can't be rated. Only that payer is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unratable {
    /// A sum overflows 64 bits.
    #[error("a sum exceeds 64 bits")]
    OutOfRange,
    /// A span refers to unknown terms, or the month has no days or too many.
    #[error("the timeline refers to unknown terms, or the month has no days or more than 31")]
    BadTimeline,
}

/// The index of the span that owns each day of one account; `None` if no plan was in force.
///
/// `spans` belong to one account, ordered by start.
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
            // Among equal ranks the later start wins.
            let wins = started.is_none_or(|best| rank(best) <= rank(next));
            if wins && !goes_on(spans, next) {
                started = Some(next);
            }
            carried = Some(next);
            next += 1;
        }
        let in_force = |index: &usize| spans.get(*index).is_some_and(|span| day < span.end_day);
        // A plan that started on the day owns it even if it also ended on it; a plan in force before must still be in
        // force.
        owners.push(started.or_else(|| carried.filter(in_force)));
    }
    owners
}

/// Whether a span continues the one before it under the same contract and plan, with another payer.
fn goes_on(spans: &[Span], index: usize) -> bool {
    let before = index.checked_sub(1).and_then(|before| spans.get(before));
    before.zip(spans.get(index)).is_some_and(|(before, span)| {
        span.contract.is_some()
            && (span.contract, span.terms) == (before.contract, before.terms)
            && span.start_day <= before.end_day
    })
}

/// The lines of one payer's month, in order of contract and day.
///
/// `spans` hold the complete timelines of the accounts that the payer pays for and of all accounts in a contract that
/// it pays for, ordered by account and start, including parts that others pay for. `used` is their usage in any
/// order.
///
/// # Errors
/// `OutOfRange` if a sum overflows 64 bits; `BadTimeline` if the input is not a valid timeline.
pub fn rate(
    payer: Uuid,
    spans: &[Span],
    used: &[Used],
    terms: &[Terms],
    days_in_month: u32,
) -> Result<Vec<Line>, Unratable> {
    let days = usize::try_from(days_in_month).map_err(|_| Unratable::BadTimeline)?;
    if days == 0 || DAYS_MAX < days || spans.iter().any(|span| terms.len() <= span.terms) {
        return Err(Unratable::BadTimeline);
    }
    let mut usage: BTreeMap<Uuid, i128> = BTreeMap::new();
    for entry in used {
        *usage.entry(entry.root).or_default() += i128::from(entry.micros);
    }
    let mut lines = Vec::new();
    for slice in slices(payer, spans, terms, days) {
        lines.push(slice.line(&usage, terms)?);
    }
    round_together(&mut lines, terms, days_in_month)?;
    Ok(lines)
}

/// The accounts that share usage and minimum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pool {
    /// An account outside any contract.
    Alone(Uuid),
    /// The accounts under a contract.
    Contract(Uuid),
}

/// Consecutive days of an account owned by one span.
#[derive(Debug, Clone, Copy)]
struct Stay {
    span: Span,
    /// The first day.
    first: usize,
    /// The end day, exclusive.
    end: usize,
}

/// Consecutive days of a pool with the same plan, accounts and payer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slice {
    contract: Option<Uuid>,
    terms: usize,
    /// The accounts, in order.
    members: Vec<Uuid>,
    /// The first day.
    first: usize,
    /// The end day, exclusive.
    end: usize,
}

/// The slices that `payer` pays for, by pool and day.
fn slices(payer: Uuid, spans: &[Span], terms: &[Terms], days: usize) -> Vec<Slice> {
    let mut pools: BTreeMap<Pool, Vec<Stay>> = BTreeMap::new();
    for timeline in spans.chunk_by(|a, b| a.root == b.root) {
        for stay in stays(timeline, terms, days) {
            let alone = Pool::Alone(stay.span.root);
            let pool = stay.span.contract.map_or(alone, Pool::Contract);
            pools.entry(pool).or_default().push(stay);
        }
    }
    let rank = |index: usize| terms.get(index).map(|terms| terms.rank);
    let mut slices: Vec<Slice> = Vec::new();
    for (pool, stays) in &pools {
        let contract = match pool {
            Pool::Alone(_) => None,
            Pool::Contract(id) => Some(*id),
        };
        for day in 0..days {
            let present = || {
                let held = move |stay: &&Stay| stay.first <= day && day < stay.end;
                stays.iter().filter(held)
            };
            let Some(first) = present().next() else {
                continue;
            };
            if payer_of(&first.span, spans, day) != payer {
                continue;
            }
            let plan = present()
                .map(|stay| stay.span.terms)
                .max_by_key(|index| (rank(*index), *index))
                .unwrap_or(first.span.terms);
            let members = present().map(|stay| stay.span.root);
            match slices.last_mut() {
                Some(last)
                    if (last.contract, last.terms, last.end) == (contract, plan, day)
                        && last.members.iter().copied().eq(members.clone()) =>
                {
                    last.end = day + 1;
                }
                _ => slices.push(Slice {
                    contract,
                    terms: plan,
                    members: members.collect(),
                    first: day,
                    end: day + 1,
                }),
            }
        }
    }
    slices
}

/// The days of one account, by the span that owns them.
fn stays(timeline: &[Span], terms: &[Terms], days: usize) -> Vec<Stay> {
    let owners = owners(timeline, terms, days);
    let mut stays = Vec::new();
    let mut first = 0;
    for run in owners.chunk_by(|a, b| a == b) {
        let end = first + run.len();
        let owner = run.first().copied().flatten();
        if let Some(span) = owner.and_then(|index| timeline.get(index)) {
            let span = *span;
            stays.push(Stay { span, first, end });
        }
        first = end;
    }
    stays
}

/// The payer of the pool that `member` is in on `day`: the one named last on that day.
///
/// The span of an account that left or closed earlier on the day may still name a previous payer. Each payer stays in
/// the contract until another is named, and its own span then names the successor, so following the payers leads to
/// the last one.
fn payer_of(member: &Span, spans: &[Span], day: usize) -> Uuid {
    let day = i32::try_from(day).unwrap_or(i32::MAX);
    let mut payer = member.payer;
    // There are at most as many payers as spans.
    for _ in spans {
        let own = spans.iter().rfind(|span| {
            (span.root, span.contract) == (payer, member.contract)
                && span.start_day <= day
                && day < span.end_day
        });
        match own {
            Some(span) if span.payer != payer => payer = span.payer,
            Some(_) | None => break,
        }
    }
    payer
}

impl Slice {
    /// The invoice line of the slice, not yet rounded.
    ///
    /// # Errors
    /// `OutOfRange` if a sum overflows; `BadTimeline` for unknown terms.
    fn line(&self, usage: &BTreeMap<Uuid, i128>, terms: &[Terms]) -> Result<Line, Unratable> {
        let used = |root: &Uuid| usage.get(root);
        let base: i128 = self.members.iter().filter_map(used).sum();
        let base_micros = i64::try_from(base.max(0)).map_err(|_| Unratable::OutOfRange)?;
        let owned = terms.get(self.terms).ok_or(Unratable::BadTimeline)?;
        let monthly_total = owned
            .charge
            .monthly_total(base_micros, owned.currency)
            .ok_or(Unratable::OutOfRange)?;
        let count = |days: usize| u32::try_from(days).map_err(|_| Unratable::BadTimeline);
        Ok(Line {
            terms: self.terms,
            contract: self.contract,
            first_day: count(self.first)?,
            days: count(self.end - self.first)?,
            base_micros,
            monthly_total,
            minor: 0,
        })
    }
}

impl Line {
    /// The exact prorated amount; `None` if it overflows `i128`.
    fn share(&self, days_in_month: u32) -> Option<Ratio> {
        self.monthly_total
            .times(i128::from(self.days))?
            .over(i128::from(days_in_month))
    }
}

/// Rounds the lines of one payer, each group together.
///
/// # Errors
/// `OutOfRange`.
fn round_together(
    lines: &mut [Line],
    terms: &[Terms],
    days_in_month: u32,
) -> Result<(), Unratable> {
    let groups = rounding_groups(lines);
    for group in 0..lines.len() {
        let own = lines
            .iter_mut()
            .zip(&groups)
            .filter(|(_, of)| **of == group);
        let mut alike: Vec<&mut Line> = own.map(|(line, _)| line).collect();
        // Ties go to the earliest line, across pools too.
        alike.sort_by_key(|line| line.first_day);
        let Some(first) = alike.first() else {
            continue; // The group was rounded with an earlier line.
        };
        let rounding = terms
            .get(first.terms)
            .map_or(Rounding::HalfUp, |terms| terms.rounding);
        let shares = alike.iter().map(|line| line.share(days_in_month));
        let exact: Option<Vec<Ratio>> = shares.collect();
        let exact = exact.ok_or(Unratable::OutOfRange)?;
        let whole = exact
            .iter()
            .try_fold(Ratio::ZERO, |sum, part| sum.plus(*part))
            .ok_or(Unratable::OutOfRange)?
            .rounded(rounding);
        let parts = largest_remainder(whole, &exact);
        for (line, part) in alike.iter_mut().zip(parts) {
            line.minor = i64::try_from(part).map_err(|_| Unratable::OutOfRange)?;
        }
    }
    Ok(())
}

/// The rounding group of each line, named by the index of its first line. Lines with the same terms or the same
/// monthly total are grouped, transitively.
fn rounding_groups(lines: &[Line]) -> Vec<usize> {
    let mut groups: Vec<usize> = (0..lines.len()).collect();
    for (place, line) in lines.iter().enumerate() {
        for (other, earlier) in lines.iter().enumerate().take(place) {
            let alike = line.terms == earlier.terms || line.monthly_total == earlier.monthly_total;
            if let (true, Some(&one), Some(&two)) = (alike, groups.get(place), groups.get(other)) {
                let (first, second) = (one.min(two), one.max(two));
                for group in groups.iter_mut().filter(|group| **group == second) {
                    *group = first;
                }
            }
        }
    }
    groups
}

/// Splits `whole` into one integer per exact share: the floor of each, plus one for the largest fractions until the
/// parts add up, ties to the earliest. The sum of the shares must differ from `whole` by less than one.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use values::Currency;

    use super::*;
    use crate::domain::charge::{Charge, Tier};

    const UNIT: i64 = 1_000_000;
    const ROOT: Uuid = Uuid::from_u128(1);
    const CONTRACT: Uuid = Uuid::from_u128(99);

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

    /// The plans Developer, Production, Business and Personalized, with the catalogue's prices.
    fn support() -> Vec<Terms> {
        vec![
            terms(0, Charge::Free),
            percent(1, 400, 250_00),
            percent(2, 600, 1500_00),
            percent(3, 800, 5000_00),
        ]
    }

    /// Spans of one account from (start day, index of terms).
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
            payer: ROOT,
            start_day: *start_day,
            end_day,
        };
        starts.iter().zip(ends).map(span).collect()
    }

    /// The usage of account `id` in the month.
    fn used(id: u128, units: i64) -> Used {
        Used {
            root: Uuid::from_u128(id),
            micros: units * UNIT,
        }
    }

    /// A span of account `id`: index of terms, payer of its contract if any, and days.
    fn span(id: u128, terms: usize, payer: Option<u128>, (start_day, end_day): (i32, i32)) -> Span {
        Span {
            root: Uuid::from_u128(id),
            terms,
            contract: payer.map(|_| CONTRACT),
            payer: Uuid::from_u128(payer.unwrap_or(id)),
            start_day,
            end_day,
        }
    }

    /// Base in units, days and amount in minor units of each line that account `id` pays in a month of 30 days.
    fn paid_by(id: u128, spans: &[Span], used: &[Used]) -> Vec<(i64, u32, i64)> {
        let lines = rate(Uuid::from_u128(id), spans, used, &support(), 30).unwrap();
        lines
            .iter()
            .map(|line| (line.base_micros / UNIT, line.days, line.minor))
            .collect()
    }

    #[track_caller]
    fn check(
        starts: &[(i32, usize)],
        usage_units: i64,
        days_in_month: u32,
        expected: &[(u32, i64)],
    ) {
        let used = [used(1, usage_units)];
        let lines = rate(ROOT, &timeline(starts), &used, &support(), days_in_month).unwrap();
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
        let lines = rate(ROOT, &closed, &[], &support(), 30).unwrap();
        assert_eq!((lines[0].days, lines[0].minor), (10, 500_00));
    }

    #[test]
    fn a_contract_pools_usage_and_has_one_minimum() {
        let member = |id| span(id, 2, Some(1), (-1, 30));
        let spans = [member(1), member(2), member(3)];
        let usage = [used(1, 10_000), used(2, 15_000), used(3, 10_000)];
        let lines = rate(ROOT, &spans, &usage, &support(), 30).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].contract, lines[0].days, lines[0].minor),
            (Some(CONTRACT), 30, 2100_00)
        );
        assert!(paid_by(2, &spans, &usage).is_empty());
    }

    #[test]
    fn req_016_an_own_plan_that_goes_on_under_a_contract_takes_the_share_of_days_once() {
        let spans = [span(1, 2, None, (-1, 16)), span(1, 2, Some(1), (15, 30))];
        let lines = paid_by(1, &spans, &[used(1, 120_000)]);
        assert_eq!(lines, [(120_000, 15, 3600_00), (120_000, 15, 3600_00)]);
    }

    #[test]
    fn req_017_two_payers_share_a_month_of_one_pool() {
        let member = |id| {
            [
                span(id, 2, Some(1), (-1, 16)),
                span(id, 2, Some(2), (15, 30)),
            ]
        };
        let spans = [member(1), member(2)].concat();
        let usage = [used(1, 90_000), used(2, 30_000)];
        for payer in [1, 2] {
            assert_eq!(paid_by(payer, &spans, &usage), [(120_000, 15, 3600_00)]);
        }
    }

    #[test]
    fn req_017_a_joiner_pays_its_own_days_on_the_whole_month_and_cuts_the_pool() {
        let (own, shared) = (span(2, 1, None, (-1, 10)), span(2, 2, Some(1), (9, 30)));
        let spans = [span(1, 2, Some(1), (-1, 30)), own, shared];
        let usage = [used(1, 30_000), used(2, 12_000)];
        assert_eq!(paid_by(2, &spans[1..], &usage), [(12_000, 9, 144_00)]);
        assert_eq!(
            paid_by(1, &spans, &usage),
            [(30_000, 9, 540_00), (42_000, 21, 1764_00)]
        );
    }

    #[test]
    fn req_017_a_contract_over_free_accounts_counts_the_whole_month() {
        let member = |id| [span(id, 0, None, (-1, 16)), span(id, 2, Some(1), (15, 30))];
        let spans = [member(1), member(2)].concat();
        let usage = [used(1, 40_000), used(2, 40_000)];
        assert_eq!(
            paid_by(1, &spans, &usage),
            [(40_000, 15, 0), (80_000, 15, 2400_00)]
        );
        assert_eq!(paid_by(2, &spans, &usage), [(40_000, 15, 0)]);
    }

    #[test]
    fn req_075_a_member_that_closes_is_in_the_pool_on_its_days() {
        let spans = [span(1, 2, Some(1), (-1, 30)), span(2, 2, Some(1), (-1, 10))];
        let usage = [used(1, 30_000), used(2, 10_000)];
        assert_eq!(
            paid_by(1, &spans, &usage),
            [(40_000, 10, 800_00), (30_000, 20, 1200_00)]
        );
    }

    #[test]
    fn req_016_the_slices_of_a_payer_that_closes_and_of_the_next_one_add_up_to_the_month() {
        // The first account pays until the 16th and closes on the 20th.
        let first = [span(1, 2, Some(1), (-1, 16)), span(1, 2, Some(2), (15, 20))];
        let second = [span(2, 2, Some(1), (-1, 16)), span(2, 2, Some(2), (15, 30))];
        let spans = [first, second].concat();
        let usage = [used(1, 20_000), used(2, 40_000)];
        let closed = paid_by(1, &spans, &usage);
        let rest = paid_by(2, &spans, &usage);
        assert_eq!(closed, [(60_000, 15, 1800_00)]);
        assert_eq!(rest, [(60_000, 5, 600_00), (40_000, 10, 800_00)]);
        let days: u32 = closed.iter().chain(&rest).map(|line| line.1).sum();
        assert_eq!(days, 30);
    }

    #[test]
    fn a_day_of_a_pool_has_the_payer_named_last_on_it() {
        // The second account pays from noon of the 16th; the third account closed that morning.
        let member = |id| {
            [
                span(id, 2, Some(1), (-1, 16)),
                span(id, 2, Some(2), (15, 30)),
            ]
        };
        let closed = [span(3, 2, Some(1), (-1, 16))];
        let spans = [&member(1)[..], &member(2)[..], &closed[..]].concat();
        let usage = [used(1, 30_000)];
        assert_eq!(paid_by(1, &spans, &usage), [(30_000, 15, 900_00)]);
        assert_eq!(
            paid_by(2, &spans, &usage),
            [(30_000, 1, 60_00), (30_000, 14, 840_00)]
        );
    }

    #[test]
    fn another_payer_starts_no_plan() {
        // The payer changes in the morning; at noon the second account leaves for the free plan.
        let spans = [
            span(1, 2, Some(2), (-1, 16)),
            span(1, 2, Some(1), (15, 30)),
            span(2, 2, Some(2), (-1, 16)),
            span(2, 2, Some(1), (15, 16)),
            span(2, 0, None, (15, 30)),
        ];
        let usage = [used(1, 30_000), used(2, 10_000)];
        assert_eq!(
            paid_by(2, &spans, &usage),
            [(10_000, 15, 0), (40_000, 15, 1200_00)]
        );
        assert_eq!(paid_by(1, &spans, &usage), [(30_000, 15, 900_00)]);
    }

    #[test]
    fn slices_of_one_plan_are_rounded_together_whatever_their_base() {
        // The total is 250.01 on each side of the cut, and half of it is 125.005, which must not be rounded up twice.
        let (own, shared) = (span(2, 1, None, (-1, 16)), span(2, 1, Some(1), (15, 30)));
        let spans = [span(1, 1, Some(1), (-1, 30)), own, shared];
        let micros = |id, micros| Used {
            root: Uuid::from_u128(id),
            micros,
        };
        let usage = [micros(1, 6_250_250_000), micros(2, 500_000)];
        assert_eq!(
            paid_by(1, &spans, &usage),
            [(6_250, 15, 125_01), (6_250, 15, 125_01)]
        );
        assert_eq!(
            paid_by(1, &spans, &usage[..1]),
            [(6_250, 15, 125_01), (6_250, 15, 125_00)]
        );
    }

    #[test]
    fn slices_of_equal_price_add_up_to_it() {
        let same = vec![
            terms(0, Charge::Flat { minor: 10_00 }),
            terms(1, Charge::Flat { minor: 10_00 }),
            terms(2, Charge::Flat { minor: 10_00 }),
        ];
        let starts = timeline(&[(-1, 0), (10, 1), (20, 2)]);
        let lines = rate(ROOT, &starts, &[], &same, 31).unwrap();
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
                micros: i64::MAX,
            },
            Used {
                root: ROOT,
                micros: 1,
            },
        ];
        assert_eq!(
            rate(ROOT, &timeline(&[(-1, 0)]), &used, &dear, 30),
            Err(Unratable::OutOfRange)
        );
        assert_eq!(
            rate(ROOT, &timeline(&[(-1, 7)]), &[], &dear, 30),
            Err(Unratable::BadTimeline)
        );
        assert_eq!(
            rate(ROOT, &timeline(&[(-1, 0)]), &[], &dear, 0),
            Err(Unratable::BadTimeline)
        );
    }

    /// Any history of an account in a month of 28 to 31 days: starts in order, the first one before or within the
    /// month.
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
                // Of the starts before the month, only the last one matters.
                let carried = starts
                    .iter()
                    .filter(|(day, _)| *day < 0)
                    .count()
                    .saturating_sub(1);
                (starts.split_off(carried), days, micros)
            })
    }

    fn rated(starts: &[(i32, usize)], days: u32, micros: i64) -> Vec<Line> {
        let used = [Used { root: ROOT, micros }];
        rate(ROOT, &timeline(starts), &used, &support(), days).unwrap()
    }

    /// Starts as (day, index of terms, payer if under the contract), in order.
    type Starts = Vec<(i32, usize, Option<u128>)>;

    /// Histories of four accounts.
    fn memberships() -> impl Strategy<Value = Vec<Starts>> {
        let payer = proptest::option::of(1_u128..=4);
        let start = (-1_i32..30, 0_usize..4, payer);
        let account = proptest::collection::vec(start, 1..8).prop_map(|mut starts: Starts| {
            starts.sort_by_key(|(day, ..)| *day);
            starts
        });
        proptest::collection::vec(account, 4)
    }

    fn spans_of(accounts: &[Starts]) -> Vec<Span> {
        let mut spans = Vec::new();
        for (starts, id) in accounts.iter().zip(1..) {
            let later = starts.iter().skip(1).map(|(day, ..)| day + 1).chain([30]);
            for ((day, terms, payer), end) in starts.iter().zip(later) {
                spans.push(span(id, *terms, *payer, (*day, end)));
            }
        }
        spans
    }

    /// For each of 30 days, whether an account is under the contract; otherwise it is on its own plan.
    fn calendars() -> impl Strategy<Value = Vec<Vec<bool>>> {
        let under = (0_u8..5).prop_map(|it| it != 0);
        let calendar = proptest::collection::vec(under, 30);
        proptest::collection::vec(calendar, 1..5)
    }

    /// Accounts paid for by the first one, under another contract from the day `cut`.
    fn members_of(calendars: &[Vec<bool>], cut: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        for (calendar, id) in calendars.iter().zip(1..) {
            let contract = |day: usize| u128::from(cut <= day) + 99;
            let days: Vec<Option<u128>> = (0..30)
                .map(|day| calendar[day].then(|| contract(day)))
                .collect();
            let mut first = 0;
            for run in days.chunk_by(|a, b| a == b) {
                let end = first + i32::try_from(run.len()).unwrap();
                let payer = run[0].map(|_| 1);
                let terms = payer.map_or(1, |_| 2);
                spans.push(Span {
                    contract: run[0].map(Uuid::from_u128),
                    ..span(id, terms, payer, (first, end))
                });
                first = end;
            }
        }
        spans
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
                // Restart the plan in force on a day on which nothing else starts.
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
            let lines = rate(ROOT, &timeline(&starts), &[], &plans, 31).unwrap();
            prop_assert_eq!(lines.iter().map(|line| line.minor).sum::<i64>(), minor);
        }

        #[test]
        fn each_day_of_an_account_is_in_exactly_one_slice(accounts in memberships()) {
            let (spans, terms) = (spans_of(&accounts), support());
            let mut times: BTreeMap<(Uuid, usize), u32> = BTreeMap::new();
            for payer in 1..=4 {
                for slice in slices(Uuid::from_u128(payer), &spans, &terms, 30) {
                    for (root, day) in slice.members.iter().flat_map(|root| (slice.first..slice.end).map(|day| (*root, day))) {
                        *times.entry((root, day)).or_default() += 1;
                    }
                }
            }
            let mut expected = BTreeMap::new();
            for timeline in spans.chunk_by(|a, b| a.root == b.root) {
                for (day, owner) in owners(timeline, &terms, 30).into_iter().enumerate() {
                    if owner.is_some() {
                        expected.insert((timeline[0].root, day), 1_u32);
                    }
                }
            }
            prop_assert_eq!(times, expected);
        }

        #[test]
        fn the_share_of_days_is_taken_once(accounts in memberships(), units in proptest::collection::vec(0_i64..1_000_000, 4)) {
            // With one percentage and no minimum for all plans, each account's usage counts by its days.
            let same: Vec<Terms> = (0..4).map(|rank| percent(rank, 1_000, 0)).collect();
            let spans = spans_of(&accounts);
            let usage: Vec<Used> = units.iter().zip(1..).map(|(units, id)| used(id, *units)).collect();
            let mut billed = 0;
            for payer in 1..=4 {
                let lines = rate(Uuid::from_u128(payer), &spans, &usage, &same, 30).unwrap();
                billed += lines.iter().map(|line| line.minor).sum::<i64>();
            }
            // A tenth of the usage, a thirtieth of it for each day, in minor units.
            let exact_by_300: i64 = spans.chunk_by(|a, b| a.root == b.root).zip(&units).map(|(timeline, units)| {
                let days = owners(timeline, &same, 30).into_iter().flatten().count();
                units * 100 * i64::try_from(days).unwrap()
            }).sum();
            // Each payer's month is rounded once per plan.
            prop_assert!((billed * 300 - exact_by_300).abs() <= 300 * 4 * 4 / 2, "{billed} {exact_by_300}");
        }

        #[test]
        fn a_cut_that_changes_nothing_changes_no_total(calendars in calendars(), cut in 1_usize..30, units in proptest::collection::vec(0_i64..100_000, 4)) {
            let usage: Vec<Used> = units.iter().zip(1..).map(|(units, id)| used(id, *units)).collect();
            let total = |cut: usize| {
                let lines = rate(ROOT, &members_of(&calendars, cut), &usage, &support(), 30).unwrap();
                lines.iter().map(|line| line.minor).sum::<i64>()
            };
            // Another contract with the same accounts owes the same total.
            prop_assert_eq!(total(cut), total(30));
        }

        #[test]
        fn lines_of_one_plan_add_up(calendars in calendars(), units in proptest::collection::vec(0_i64..100_000, 4)) {
            let usage: Vec<Used> = units.iter().zip(1..).map(|(units, id)| used(id, *units)).collect();
            let lines = rate(ROOT, &members_of(&calendars, 30), &usage, &support(), 30).unwrap();
            let mut exact = Ratio::ZERO;
            for line in &lines {
                let share = line.share(30).unwrap();
                prop_assert!(share.floor() <= i128::from(line.minor) && i128::from(line.minor) <= share.floor() + 1);
                exact = exact.plus(share).unwrap();
            }
            let billed: i64 = lines.iter().map(|line| line.minor).sum();
            let least = i128::from(billed - 1);
            prop_assert!(Ratio::whole(least) <= exact && exact <= Ratio::whole(least + 2));
        }
    }
}
