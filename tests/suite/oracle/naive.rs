//! A naive second opinion on the monthly support charges: day by day, plain loops, exact fractions, std only.

use std::cmp::{Ordering, Reverse};

/// Seconds in one UTC day.
const DAY: i64 = 86_400;

/// One plan's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The plan's code; messages only.
    pub plan: String,
    /// The plan's rank; a higher one wins a disputed day.
    pub rank: u32,
    /// What a whole month costs.
    pub charge: Charge,
}

/// How a plan's total monthly charge comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Charge {
    /// Nothing, ever.
    Free,
    /// The same each month.
    Flat {
        /// The amount in cents.
        cents: i64,
    },
    /// A graduated percentage of the usage base.
    Percent {
        /// Ascending (inclusive upper bound in millionths of the currency unit, basis points); `None` = unbounded.
        tiers: Vec<(Option<i64>, u32)>,
        /// At least this.
        minimum_cents: i64,
        /// At most this, even where the minimum is higher.
        maximum_cents: Option<i64>,
    },
}

/// One root account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The account; pays for itself outside contracts.
    pub id: u32,
    /// Sorted (start in unix seconds, index into the terms, governing contract); in force until the next one starts.
    pub history: Vec<(i64, usize, Option<u32>)>,
    /// Closed at, in unix seconds.
    pub end: Option<i64>,
    /// (Day number since 1970-01-01, millionths, may be negative), counted categories only.
    pub usage: Vec<(i64, i64)>,
}

/// A contract, which pools its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The contract.
    pub id: u32,
    /// Sorted (named at, in unix seconds; the account that pays for all members from then on).
    pub payers: Vec<(i64, u32)>,
}

/// One charge line: successive days of one pool with one plan, the same members and one payer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Who pays.
    pub payer: u32,
    /// The contract, or `None` for an account of its own.
    pub contract: Option<u32>,
    /// Index into the terms.
    pub plan: usize,
    /// 1-based day of the month on which the slice starts.
    pub first_day: u32,
    /// Days in the slice.
    pub days: u32,
    /// The whole month's usage of the pool's members on these days, never below 0.
    pub base_micros: i64,
    /// The rounded charge.
    pub cents: i64,
}

/// An exact fraction in lowest terms with a positive denominator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fraction {
    /// Numerator.
    top: i128,
    /// Denominator, above 0.
    bottom: i128,
}

impl Fraction {
    /// `top / bottom`, reduced; `bottom` is above 0.
    fn new(top: i128, bottom: i128) -> Self {
        let (mut a, mut b) = (top.abs(), bottom);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Self {
            top: top / a,
            bottom: bottom / a,
        }
    }

    /// A whole number.
    fn whole(number: i64) -> Self {
        Self::new(i128::from(number), 1)
    }

    /// The share `part / all` of it.
    fn share(self, part: u32, all: u32) -> Self {
        Self::new(self.top * i128::from(part), self.bottom * i128::from(all))
    }

    /// Their sum.
    fn plus(self, other: Self) -> Self {
        let top = self.top * other.bottom + other.top * self.bottom;
        Self::new(top, self.bottom * other.bottom)
    }

    /// The greatest whole number that is not above it.
    fn floor(self) -> i64 {
        let floor = self.top.div_euclid(self.bottom);
        i64::try_from(floor).expect("a month's charge fits into i64 cents")
    }

    /// What the floor leaves over.
    fn remainder(self) -> Self {
        Self::new(self.top.rem_euclid(self.bottom), self.bottom)
    }

    /// The nearest whole number, a half going away from zero.
    fn half_up(self) -> i64 {
        let size = Self::new(self.top.abs() * 2 + self.bottom, self.bottom * 2).floor();
        if self.top < 0 { -size } else { size }
    }
}

impl Ord for Fraction {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.top * other.bottom).cmp(&(other.top * self.bottom))
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Who is charged together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// One member outside any contract.
    Alone(u32),
    /// A contract with all its members.
    Contract(u32),
}

/// What one member's day belongs to.
#[derive(Debug, Clone, Copy)]
struct Owner {
    /// The group that governs the owning plan.
    group: Group,
    /// The owning plan's index into the terms.
    plan: usize,
    /// When that plan started, in unix seconds.
    since: i64,
}

/// A member's month: the owner of each day, and the usage of all of it.
#[derive(Debug)]
struct Sheet {
    /// The member.
    id: u32,
    /// One entry per day of the month; `None` where the member did not exist.
    owners: Vec<Option<Owner>>,
    /// The month's usage in millionths.
    usage: i128,
}

/// What must stay the same from day to day for a slice to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PoolDay {
    /// Who pays.
    payer: u32,
    /// The plan's index into the terms.
    plan: usize,
    /// The accounts in the pool.
    members: Vec<u32>,
}

/// Days in a year.
fn days_in_year(year: i32) -> i64 {
    if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) {
        366
    } else {
        365
    }
}

/// Days in a month, 1 to 12.
fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if days_in_year(year) == 366 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day number since 1970-01-01 of a month's first day, counted year by year and month by month.
fn first_of_month(year: i32, month: u32) -> i64 {
    let mut number = 0;
    for past in 1970..year {
        number += days_in_year(past);
    }
    for ahead in year..1970 {
        number -= days_in_year(ahead);
    }
    for past in 1..month {
        number += i64::from(days_in_month(year, past));
    }
    number
}

/// The terms at an index that `month` has checked.
fn terms_of(terms: &[Terms], plan: usize) -> &Terms {
    terms
        .get(plan)
        .expect("`month` checks every index of every history")
}

/// Who owns one day of a member, if it existed on that day.
fn owner_of(terms: &[Terms], member: &Member, day: i64) -> Option<Owner> {
    let midnight = day * DAY;
    let rank = |plan| terms_of(terms, plan).rank;
    if member.end.is_some_and(|end| end <= midnight) {
        return None;
    }
    let mut in_force: Option<Owner> = None;
    let mut started: Option<Owner> = None;
    for &(since, plan, contract) in &member.history {
        if since >= midnight + DAY || member.end.is_some_and(|end| since >= end) {
            continue;
        }
        let group = contract.map_or(Group::Alone(member.id), Group::Contract);
        let this = Owner { group, plan, since };
        if since < midnight {
            in_force = Some(this);
        } else if started.is_none_or(|best| rank(plan) >= rank(best.plan)) {
            started = Some(this);
        }
    }
    started.or(in_force)
}

/// A member's month, day by day.
fn sheet(terms: &[Terms], member: &Member, first: i64, length: u32) -> Sheet {
    let mut owners = Vec::new();
    let mut usage = 0;
    for day in first..first + i64::from(length) {
        owners.push(owner_of(terms, member, day));
        for &(on, micros) in &member.usage {
            if on == day {
                usage += i128::from(micros);
            }
        }
    }
    Sheet {
        id: member.id,
        owners,
        usage,
    }
}

/// Who is in a group's pool on a day of the month, counted from 0.
fn members_of_day(sheets: &[Sheet], group: Group, day: usize) -> Vec<u32> {
    let mut members = Vec::new();
    for sheet in sheets {
        let owner = sheet.owners.get(day).copied().flatten();
        if owner.is_some_and(|owner| owner.group == group) {
            members.push(sheet.id);
        }
    }
    members
}

/// Who pays for a group's pool on a day since 1970: the account itself, or whoever was named last
/// before the day was over.
fn payer_of_day(group: Group, contracts: &[Contract], day: i64) -> Option<u32> {
    let id = match group {
        Group::Alone(member) => return Some(member),
        Group::Contract(id) => id,
    };
    let mut payer = None;
    for contract in contracts {
        for &(named, account) in &contract.payers {
            if contract.id == id && named < (day + 1) * DAY {
                payer = Some(account);
            }
        }
    }
    payer
}

/// The whole month's usage of some members.
fn usage_base(sheets: &[Sheet], members: &[u32]) -> i64 {
    let mut base = 0;
    for sheet in sheets {
        if members.contains(&sheet.id) {
            base += sheet.usage;
        }
    }
    i64::try_from(base.max(0)).expect("a month's usage fits into i64 millionths")
}

/// The plan of one day of a group: the highest-ranked among its members; a tie goes to the one started last.
fn plan_of_day(terms: &[Terms], sheets: &[Sheet], group: Group, day: usize) -> Option<usize> {
    let mut best: Option<Owner> = None;
    for sheet in sheets {
        let Some(this) = sheet.owners.get(day).copied().flatten() else {
            continue;
        };
        let weight = |owner: Owner| (terms_of(terms, owner.plan).rank, owner.since, owner.plan);
        if this.group == group && best.is_none_or(|other| weight(this) > weight(other)) {
            best = Some(this);
        }
    }
    best.map(|owner| owner.plan)
}

/// The exact total monthly charge in cents.
fn total_monthly_charge(charge: &Charge, base: i64) -> Fraction {
    match charge {
        Charge::Free => Fraction::whole(0),
        Charge::Flat { cents } => Fraction::whole(*cents),
        Charge::Percent {
            tiers,
            minimum_cents,
            maximum_cents,
        } => {
            let (mut sum, mut below) = (0, 0);
            for &(bound, basis_points) in tiers {
                let upper = bound.map_or(base, |bound| base.min(bound));
                if upper > below {
                    sum += i128::from(upper - below) * i128::from(basis_points);
                    below = upper;
                }
            }
            // A cent is 10,000 millionths, and a basis point is a 10,000th.
            let raised = Fraction::new(sum, 100_000_000).max(Fraction::whole(*minimum_cents));
            maximum_cents.map_or(raised, |maximum| raised.min(Fraction::whole(maximum)))
        }
    }
}

/// Every maximal run of equal days: what they have in common, the 1-based first day and the number
/// of days.
fn runs(days: &[Option<PoolDay>]) -> Vec<(PoolDay, u32, u32)> {
    let mut runs: Vec<(PoolDay, u32, u32)> = Vec::new();
    let mut yesterday = &None;
    for (today, number) in days.iter().zip(1..) {
        match (today, runs.last_mut()) {
            (Some(_), Some(run)) if today == yesterday => run.2 += 1,
            (Some(day), _) => runs.push((day.clone(), number, 1)),
            (None, _) => {}
        }
        yesterday = today;
    }
    runs
}

/// Which of one payer's lines are rounded together: those of one plan, those of one exact total,
/// and whatever hangs together by these.
fn rounded_together(totals: &[(usize, Fraction)]) -> Vec<Vec<usize>> {
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for (place, (plan, total)) in totals.iter().enumerate() {
        let mut joined = vec![place];
        let mut apart = Vec::new();
        for set in sets {
            let alike = |other: &usize| {
                let other = totals.get(*other).expect("it was put there from here");
                other.0 == *plan || other.1 == *total
            };
            if set.iter().any(alike) {
                joined.extend(set);
            } else {
                apart.push(set);
            }
        }
        apart.push(joined);
        sets = apart;
    }
    sets
}

/// Rounds lines together, and splits the cents by largest remainder.
fn charge_together(mut lines: Vec<(&mut Line, Fraction)>, length: u32) {
    let mut whole = Fraction::whole(0);
    for (line, total) in &lines {
        whole = whole.plus(total.share(line.days, length));
    }
    let mut missing = whole.half_up();
    for (line, total) in &mut lines {
        line.cents = total.share(line.days, length).floor();
        missing -= line.cents;
    }
    // Ties go to the earliest.
    lines.sort_by_key(|(line, total)| {
        let share = total.share(line.days, length);
        (Reverse(share.remainder()), line.first_day, line.contract)
    });
    for (line, _) in lines {
        if missing > 0 {
            line.cents += 1;
            missing -= 1;
        }
    }
}

/// All lines of one month in UTC, free ones included, sorted by payer, contract and first day.
///
/// # Panics
/// If the month isn't 1 to 12, or a history names terms or a contract that aren't there.
pub fn month(
    terms: &[Terms],
    members: &[Member],
    contracts: &[Contract],
    year: i32,
    month: u32,
) -> Vec<Line> {
    assert!((1..=12).contains(&month), "month {month}");
    for &(_, plan, contract) in members.iter().flat_map(|member| &member.history) {
        let known = contract.is_none_or(|id| contracts.iter().any(|other| other.id == id));
        assert!(known && plan < terms.len(), "{plan} or {contract:?}");
    }
    let (first, length) = (first_of_month(year, month), days_in_month(year, month));
    let mut groups = Vec::new();
    let mut sheets = Vec::new();
    for member in members {
        groups.push((Group::Alone(member.id), None));
        sheets.push(sheet(terms, member, first, length));
    }
    for contract in contracts {
        groups.push((Group::Contract(contract.id), Some(contract.id)));
    }
    let mut all: Vec<Line> = Vec::new();
    for (group, contract) in groups {
        let mut days = Vec::new();
        for (day, date) in (first..first + i64::from(length)).enumerate() {
            let plan = plan_of_day(terms, &sheets, group, day);
            let payer = payer_of_day(group, contracts, date);
            days.push(plan.zip(payer).map(|(plan, payer)| PoolDay {
                payer,
                plan,
                members: members_of_day(&sheets, group, day),
            }));
        }
        for (pool, first_day, days) in runs(&days) {
            all.push(Line {
                payer: pool.payer,
                contract,
                plan: pool.plan,
                first_day,
                days,
                base_micros: usage_base(&sheets, &pool.members),
                cents: 0,
            });
        }
    }
    let mut payers: Vec<u32> = all.iter().map(|line| line.payer).collect();
    payers.sort_unstable();
    payers.dedup();
    for payer in payers {
        let own = all.iter_mut().filter(|line| line.payer == payer);
        let mut own: Vec<&mut Line> = own.collect();
        let mut totals = Vec::new();
        for line in &own {
            let charge = &terms_of(terms, line.plan).charge;
            totals.push((line.plan, total_monthly_charge(charge, line.base_micros)));
        }
        for set in rounded_together(&totals) {
            let mut together = Vec::new();
            for (place, line) in own.iter_mut().enumerate() {
                if set.contains(&place) {
                    let total = totals.get(place).expect("each line has one").1;
                    together.push((&mut **line, total));
                }
            }
            charge_together(together, length);
        }
    }
    all.sort_by_key(|line| (line.payer, line.contract, line.first_day));
    all
}

/// The requirements' own figures, and the edges around them.
#[cfg(test)]
mod tests {
    use super::*;

    /// Developer: nothing.
    const FREE: usize = 0;
    /// 4 %, at least 250.00.
    const PRODUCTION: usize = 1;
    /// 6 %, at least 1,500.00.
    const BUSINESS: usize = 2;
    /// 250.00 a month.
    const FLAT_250: usize = 3;
    /// 10.00 a month.
    const FLAT_10: usize = 4;
    /// 10.00 a month too.
    const OTHER_FLAT_10: usize = 5;
    /// 10 % to 1,000.00, 5 % to 3,000.00, then 1 %; 50.00 to 300.00.
    const TIERED: usize = 6;
    /// One currency unit in millionths.
    const UNIT: i64 = 1_000_000;

    /// One unbounded tier.
    fn percent(basis_points: u32, minimum_cents: i64) -> Charge {
        Charge::Percent {
            tiers: vec![(None, basis_points)],
            minimum_cents,
            maximum_cents: None,
        }
    }

    /// The terms behind the indices above.
    fn catalogue() -> Vec<Terms> {
        let tiers = vec![
            (Some(1_000 * UNIT), 1_000),
            (Some(3_000 * UNIT), 500),
            (None, 100),
        ];
        let tiered = Charge::Percent {
            tiers,
            minimum_cents: 5_000,
            maximum_cents: Some(30_000),
        };
        [
            ("developer", 0, Charge::Free),
            ("production", 1, percent(400, 25_000)),
            ("business", 2, percent(600, 150_000)),
            ("production_flat", 1, Charge::Flat { cents: 25_000 }),
            ("flat_10", 1, Charge::Flat { cents: 1_000 }),
            ("other_flat_10", 1, Charge::Flat { cents: 1_000 }),
            ("tiered", 3, tiered),
        ]
        .map(|(plan, rank, charge)| Terms {
            plan: plan.to_owned(),
            rank,
            charge,
        })
        .into()
    }

    /// An instant of a month.
    fn at(year: i32, month: u32, day: i64, hour: i64) -> i64 {
        ((first_of_month(year, month) + day - 1) * 24 + hour) * 3_600
    }

    /// Usage in units on a day of April 2026.
    fn used(day: i64, units: i64) -> (i64, i64) {
        (first_of_month(2026, 4) + day - 1, units * UNIT)
    }

    /// Account 1 with (day, hour, plan, contract) of April 2026 that used 40,000.00 on the first.
    fn member(starts: &[(i64, i64, usize, Option<u32>)]) -> Member {
        let entry = |start: &(i64, i64, usize, Option<u32>)| {
            (at(2026, 4, start.0, start.1), start.2, start.3)
        };
        let history = starts.iter().map(entry).collect();
        let usage = vec![used(1, 40_000)];
        Member {
            id: 1,
            history,
            end: None,
            usage,
        }
    }

    /// The lines of April 2026; contract 7 is paid by account 2.
    fn april(members: &[Member]) -> Vec<Line> {
        april_paid_by(members, vec![(0, 2)])
    }

    /// The lines of April 2026; contract 7 is paid by each of these from an instant on.
    fn april_paid_by(members: &[Member], payers: Vec<(i64, u32)>) -> Vec<Line> {
        month(
            &catalogue(),
            members,
            &[Contract { id: 7, payers }],
            2026,
            4,
        )
    }

    /// (Plan, first day, days, cents) of each line.
    fn short(lines: &[Line]) -> Vec<(usize, u32, u32, i64)> {
        let short = |line: &Line| (line.plan, line.first_day, line.days, line.cents);
        lines.iter().map(short).collect()
    }

    /// What a lone account's April 2026 comes to.
    fn bill(starts: &[(i64, i64, usize, Option<u32>)]) -> Vec<(usize, u32, u32, i64)> {
        short(&april(&[member(starts)]))
    }

    #[test]
    fn calendar() {
        assert_eq!(at(2026, 4, 1, 0), 1_775_001_600);
        assert_eq!(at(2028, 2, 15, 0), 1_834_185_600);
        assert_eq!(at(1969, 12, 1, 0), -2_678_400);
        assert_eq!(at(2101, 1, 1, 0), 4_133_980_800);
        assert_eq!(
            [1900, 2000, 2026, 2028].map(|year| days_in_month(year, 2)),
            [28, 29, 28, 29]
        );
    }

    #[test]
    fn req_007_each_account_alone() {
        let mut one = member(&[(1, 0, BUSINESS, None)]);
        one.usage = vec![used(3, 10_000)];
        let mut two = one.clone();
        two.id = 2;
        let lines = april(&[two, one]);
        assert_eq!([lines[0].payer, lines[1].payer], [1, 2]);
        assert_eq!(short(&lines), [(BUSINESS, 1, 30, 150_000); 2]);
    }

    #[test]
    fn req_008_table() {
        let least = [25_000, 10_000, 0, -5].map(|units| (units, 150_000));
        for (units, cents) in least.into_iter().chain([(40_000, 240_000)]) {
            let mut member = member(&[(1, 0, BUSINESS, None)]);
            member.usage = vec![used(30, units)];
            let lines = april(&[member]);
            assert_eq!(short(&lines), [(BUSINESS, 1, 30, cents)]);
            assert_eq!(lines[0].base_micros, units.max(0) * UNIT);
        }
    }

    #[test]
    fn req_010_change_in_mid_month() {
        let got = bill(&[(-40, 3, PRODUCTION, None), (15, 10, BUSINESS, None)]);
        assert_eq!(
            got,
            [(PRODUCTION, 1, 14, 74_667), (BUSINESS, 15, 16, 128_000)]
        );
    }

    #[test]
    fn req_012_flat() {
        for (year, days, cents) in [(2026, 14, 12_500), (2028, 15, 12_931)] {
            let mut member = member(&[]);
            member.history = vec![(at(year, 2, 15, 0), FLAT_250, None)];
            let lines = month(&catalogue(), &[member], &[], year, 2);
            assert_eq!(short(&lines), [(FLAT_250, 15, days, cents)]);
        }
    }

    #[test]
    fn req_013_the_start_day_counts() {
        let mut late = member(&[(1, 0, FREE, None), (16, 0, BUSINESS, None)]);
        late.history[1].0 -= 60;
        assert_eq!(
            short(&april(&[late])),
            [(FREE, 1, 14, 0), (BUSINESS, 15, 16, 128_000)]
        );
        let last = bill(&[(1, 0, FREE, None), (30, 12, BUSINESS, None)]);
        assert_eq!(last, [(FREE, 1, 29, 0), (BUSINESS, 30, 1, 8_000)]);
        assert_eq!(
            bill(&[(30, 12, BUSINESS, None)]),
            [(BUSINESS, 30, 1, 8_000)]
        );
    }

    #[test]
    fn req_017_pools() {
        let mut root = member(&[(1, 0, BUSINESS, None)]);
        root.usage = vec![used(2, 20_000), used(2, 15_000), used(9, 5_000)];
        assert_eq!(short(&april(&[root])), [(BUSINESS, 1, 30, 240_000)]);
        let pooled = [(1, 10_000), (2, 15_000), (3, 10_000)].map(|(id, units)| {
            let mut member = member(&[(1, 0, BUSINESS, Some(7))]);
            (member.id, member.usage) = (id, vec![used(20, units)]);
            member
        });
        let lines = april(&pooled);
        assert_eq!(short(&lines), [(BUSINESS, 1, 30, 210_000)]);
        assert_eq!((lines[0].payer, lines[0].contract), (2, Some(7)));
        assert_eq!(lines[0].base_micros, 35_000 * UNIT);
    }

    #[test]
    fn a_joiner_cuts_the_pool_and_counts_with_its_whole_month() {
        let mut joins = member(&[(1, 0, PRODUCTION, None), (10, 8, BUSINESS, Some(7))]);
        joins.usage = vec![used(9, 7_000), used(11, 5_000)];
        let mut stays = member(&[(1, 0, BUSINESS, Some(7))]);
        (stays.id, stays.usage) = (2, vec![used(30, 30_000)]);
        let lines = april(&[joins, stays]);
        assert_eq!(
            short(&lines),
            [
                (PRODUCTION, 1, 9, 14_400),
                (BUSINESS, 1, 9, 54_000),
                (BUSINESS, 10, 21, 176_400)
            ]
        );
        let facts = |line: &Line| (line.contract, line.base_micros / UNIT);
        assert_eq!(
            lines.iter().map(facts).collect::<Vec<_>>(),
            [(None, 12_000), (Some(7), 30_000), (Some(7), 42_000)]
        );
    }

    #[test]
    fn another_payer_cuts_the_pool_and_each_takes_its_days() {
        let [one, two] = [(1, 90_000), (2, 30_000)].map(|(id, units)| {
            let mut member = member(&[(1, 0, BUSINESS, Some(7))]);
            (member.id, member.usage) = (id, vec![used(20, units)]);
            member
        });
        let payers = vec![(0, 1), (at(2026, 4, 16, 10), 2)];
        let lines = april_paid_by(&[one, two], payers);
        assert_eq!([lines[0].payer, lines[1].payer], [1, 2]);
        assert_eq!(
            short(&lines),
            [(BUSINESS, 1, 15, 360_000), (BUSINESS, 16, 15, 360_000)]
        );
    }

    #[test]
    fn an_own_plan_that_becomes_a_contract_costs_what_it_did() {
        let mut member = member(&[(1, 0, BUSINESS, None), (16, 10, BUSINESS, Some(7))]);
        member.usage = vec![used(5, 60_000), used(25, 60_000)];
        let lines = april_paid_by(&[member], vec![(0, 1)]);
        assert_eq!(
            short(&lines),
            [(BUSINESS, 1, 15, 360_000), (BUSINESS, 16, 15, 360_000)]
        );
    }

    #[test]
    fn req_026_downgrade_to_a_paid_plan() {
        let got = bill(&[(1, 0, BUSINESS, None), (20, 9, PRODUCTION, None)]);
        assert_eq!(
            got,
            [(BUSINESS, 1, 19, 152_000), (PRODUCTION, 20, 11, 58_667)]
        );
    }

    #[test]
    fn req_030_developer_costs_nothing() {
        let member = member(&[(1, 0, BUSINESS, None), (20, 0, FREE, None)]);
        let may = month(&catalogue(), std::slice::from_ref(&member), &[], 2026, 5);
        assert_eq!(short(&may), [(FREE, 1, 31, 0)]);
        assert_eq!(
            short(&april(&[member])),
            [(BUSINESS, 1, 19, 152_000), (FREE, 20, 11, 0)]
        );
    }

    #[test]
    fn req_035_one_plan_per_day() {
        let got = bill(&[
            (1, 0, FREE, None),
            (15, 9, BUSINESS, None),
            (15, 17, FREE, None),
        ]);
        assert_eq!(
            got,
            [
                (FREE, 1, 14, 0),
                (BUSINESS, 15, 1, 8_000),
                (FREE, 16, 15, 0)
            ]
        );
    }

    #[test]
    fn a_tie_of_rank_goes_to_the_last_start() {
        let got = bill(&[(30, 9, FLAT_250, None), (30, 10, PRODUCTION, None)]);
        assert_eq!(got, [(PRODUCTION, 30, 1, 5_333)]);
    }

    #[test]
    fn the_closing_day_counts_unless_it_closes_at_midnight() {
        for (hour, days, cents) in [(0, 9, 72_000), (1, 10, 80_000)] {
            let mut member = member(&[(1, 0, BUSINESS, None)]);
            (member.end, member.usage) = (Some(at(2026, 4, 10, hour)), vec![used(28, 40_000)]);
            assert_eq!(short(&april(&[member])), [(BUSINESS, 1, days, cents)]);
        }
    }

    #[test]
    fn graduated_tiers_between_minimum_and_maximum() {
        let low = [(0, 5_000), (1_000, 10_000)];
        for (units, cents) in
            low.into_iter()
                .chain([(3_000, 20_000), (4_000, 21_000), (99_000, 30_000)])
        {
            let mut member = member(&[(1, 0, TIERED, None)]);
            member.usage = vec![used(1, units)];
            let got = short(&april(&[member]));
            assert_eq!(
                got,
                [(TIERED, 1, 30, cents)],
                "{}",
                catalogue()[TIERED].plan
            );
        }
    }

    #[test]
    fn equal_prices_are_rounded_together() {
        let mut member = member(&[]);
        for (day, plan) in [(1, FLAT_10), (11, OTHER_FLAT_10), (21, FLAT_10)] {
            member.history.push((at(2026, 5, day, 0), plan, None));
        }
        let got = short(&month(&catalogue(), &[member], &[], 2026, 5));
        assert_eq!(
            got,
            [
                (FLAT_10, 1, 10, 323),
                (OTHER_FLAT_10, 11, 10, 322),
                (FLAT_10, 21, 11, 355)
            ]
        );
    }
}
