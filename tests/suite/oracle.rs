//! Two independent calculations of a month, on random histories: the engine, and a naive oracle that
//! counts day by day and shares no crate with it.

mod naive;

use std::collections::BTreeSet;

use billing::domain::charge::{Charge, Terms, Tier};
use billing::domain::rating::{self, Span, Used};
use uuid::Uuid;
use values::{Currency, Rounding};

/// Histories that both must agree on; a tenth of the number where a debug build counts them
/// in every run, all of it by `.ci/run full`.
const HISTORIES: u64 = 20_000;
const HISTORIES_FULL: u64 = 100_000;
const DAY: i64 = 86_400;
/// 1 April 2026, in days and seconds since 1970.
const MONTHS: [(i32, u32, i64, i64); 4] = [
    (2026, 2, 20_485, 28),
    (2028, 2, 21_215, 29),
    (2026, 4, 20_544, 30),
    (2026, 5, 20_574, 31),
];

/// A small generator (splitmix64): the same histories each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but without `bound`.
    fn below(&mut self, bound: i64) -> i64 {
        i64::try_from(self.next() % u64::try_from(bound).unwrap()).unwrap()
    }
}

fn random_terms(random: &mut Random) -> Vec<naive::Terms> {
    let mut terms = vec![naive::Terms {
        plan: "free".to_owned(),
        rank: 0,
        charge: naive::Charge::Free,
    }];
    for rank in 1..=3 {
        let charge = match random.below(4) {
            0 => naive::Charge::Flat {
                cents: random.below(500_000),
            },
            1 => {
                let bound = 1_000_000 * (1 + random.below(50_000));
                let tiers = vec![
                    (Some(bound), 100 + u32::try_from(random.below(900)).unwrap()),
                    (None, u32::try_from(random.below(500)).unwrap()),
                ];
                let minimum_cents = random.below(200_000);
                naive::Charge::Percent {
                    tiers,
                    minimum_cents,
                    maximum_cents: Some(minimum_cents + random.below(500_000)),
                }
            }
            _ => naive::Charge::Percent {
                tiers: vec![(None, u32::try_from(random.below(1_000)).unwrap())],
                minimum_cents: random.below(200_000),
                maximum_cents: None,
            },
        };
        terms.push(naive::Terms {
            plan: format!("plan{rank}"),
            rank,
            charge,
        });
    }
    terms
}

/// Up to four members, who may join or leave one contract.
fn random_members(random: &mut Random, first_day: i64, days: i64) -> Vec<naive::Member> {
    let start = first_day * DAY;
    (0..=u32::try_from(random.below(4)).unwrap())
        .map(|id| {
            let created = if random.below(4) == 0 {
                start + random.below(days * DAY)
            } else {
                start - 1 - random.below(90 * DAY)
            };
            let mut history = vec![(created, 0_usize, None)];
            let mut in_contract = false;
            for _ in 0..random.below(6) {
                let last = history.last().unwrap().0;
                // Often on the same day as the one before, sometimes at midnight.
                let gap = match random.below(4) {
                    0 => 1 + random.below(3_600),
                    1 => DAY - last.rem_euclid(DAY),
                    _ => 1 + random.below(20 * DAY),
                };
                in_contract = if in_contract {
                    random.below(3) != 0
                } else {
                    random.below(3) == 0
                };
                if in_contract && history.last().unwrap().2.is_some() {
                    continue; // Who is in a contract can't join it.
                }
                let plan = if in_contract {
                    2
                } else {
                    usize::try_from(random.below(4)).unwrap()
                };
                history.push((last + gap, plan, in_contract.then_some(7)));
            }
            let end = (random.below(6) == 0)
                .then(|| history.last().unwrap().0 + 1 + random.below(15 * DAY));
            let usage = (0..random.below(8))
                .map(|_| {
                    (
                        first_day + random.below(days),
                        random.below(60_000_000_000) - 5_000_000_000,
                    )
                })
                .collect();
            naive::Member {
                id: id + 1,
                history,
                end,
                usage,
            }
        })
        .collect()
}

fn root(id: u32) -> Uuid {
    Uuid::from_u128(u128::from(id))
}

fn one_of(random: &mut Random, present: &BTreeSet<u32>) -> u32 {
    let place = random.below(i64::try_from(present.len()).unwrap());
    *present.iter().nth(usize::try_from(place).unwrap()).unwrap()
}

/// Who pays for the contract, from when: first whoever is the first member; then another now and
/// then, and always before a payer leaves. Left by all it is over: nobody joins it again.
fn random_payers(random: &mut Random, members: &mut [naive::Member]) -> Vec<(i64, u32)> {
    // When, whether under the contract from then on, and who. Who leaves comes before who joins.
    let mut events: Vec<(i64, bool, u32)> = Vec::new();
    for member in members.iter() {
        for (start, _, contract) in &member.history {
            events.push((*start, contract.is_some(), member.id));
        }
        events.extend(member.end.map(|end| (end, false, member.id)));
    }
    events.sort_unstable();
    let mut payers: Vec<(i64, u32)> = Vec::new();
    let mut present: BTreeSet<u32> = BTreeSet::new();
    let mut before = 0;
    for (at, joins, id) in events {
        let gap = at - before;
        if !present.is_empty() && 2 < gap && random.below(3) == 0 {
            let named = before + 1 + random.below(gap - 2);
            payers.push((named, one_of(random, &present)));
        }
        if joins {
            if present.is_empty() {
                payers.push((at, id));
            }
            present.insert(id);
        } else if present.remove(&id) {
            if present.is_empty() {
                let later = members.iter_mut().flat_map(|member| &mut member.history);
                for entry in later.filter(|entry| at <= entry.0) {
                    entry.2 = None;
                }
                break;
            }
            if payers.last().is_some_and(|(_, payer)| *payer == id) {
                payers.push((at - 1, one_of(random, &present)));
            }
        }
        before = at;
    }
    payers
}

/// A stretch of a timeline in seconds: which plan, under which contract, paid by whom.
struct Stretch {
    start: i64,
    end: Option<i64>,
    plan: usize,
    contract: Option<u32>,
    payer: u32,
}

/// A member's timeline as `plan` keeps it: a stretch under the contract ends where another payer is
/// named, and the next begins.
fn stretches(member: &naive::Member, payers: &[(i64, u32)]) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    for (place, (start, plan, contract)) in member.history.iter().enumerate() {
        let next = member.history.get(place + 1).map(|it| it.0);
        let end = match (next, member.end) {
            (Some(next), Some(end)) => Some(next.min(end)),
            (next, end) => next.or(end),
        };
        let within = |at: i64| *start < at && end.is_none_or(|end| at < end);
        let named = payers.iter().map(|it| it.0);
        let cuts: BTreeSet<i64> = named
            .filter(|at| contract.is_some() && within(*at))
            .collect();
        let starts = std::iter::once(*start).chain(cuts.iter().copied());
        let ends = cuts.iter().copied().map(Some).chain([end]);
        for (start, end) in starts.zip(ends) {
            let last = payers.iter().rfind(|(named, _)| *named <= start);
            stretches.push(Stretch {
                start,
                end,
                plan: *plan,
                contract: *contract,
                payer: contract.map_or(member.id, |_| last.unwrap().1),
            });
        }
    }
    stretches
}

/// The engine's input for one payer: the whole timelines of those it pays for, and of those in the
/// contract if it pays for that.
fn engine(
    payer: u32,
    members: &[naive::Member],
    payers: &[(i64, u32)],
    terms: &[Terms],
    (first_day, days): (i64, i64),
) -> Vec<(u32, Option<u32>, usize, u32, u32, i64, i64)> {
    let month = first_day * DAY..(first_day + days) * DAY;
    let touches = |it: &Stretch| {
        it.start < month.end && it.end.is_none_or(|end| month.start < end && it.start < end)
    };
    let timelines = members.iter().map(|member| {
        let mut timeline = stretches(member, payers);
        timeline.retain(touches);
        (member, timeline)
    });
    let timelines: Vec<_> = timelines.collect();
    let all = timelines.iter().flat_map(|(_, timeline)| timeline);
    let pays_contract = all
        .filter(|it| it.contract.is_some())
        .any(|it| it.payer == payer);
    let mut spans = Vec::new();
    let mut used = Vec::new();
    for (member, timeline) in &timelines {
        let shared = timeline.iter().any(|it| it.contract.is_some());
        let paid = timeline.iter().any(|it| it.payer == payer);
        let needed = paid || (pays_contract && shared);
        if !needed {
            continue;
        }
        let day = |at: i64| at.div_euclid(DAY) - first_day;
        for it in timeline {
            let end_day = it.end.map_or(i64::from(i32::MAX), |end| {
                if end % DAY == 0 {
                    day(end)
                } else {
                    day(end) + 1
                }
            });
            spans.push(Span {
                root: root(member.id),
                terms: it.plan,
                contract: it.contract.map(|id| Uuid::from_u128(u128::from(id) << 64)),
                payer: root(it.payer),
                start_day: i32::try_from(day(it.start).max(-1)).unwrap(),
                end_day: i32::try_from(end_day).unwrap(),
            });
        }
        used.extend(member.usage.iter().map(|(_, micros)| Used {
            root: root(member.id),
            micros: *micros,
        }));
    }
    let days = u32::try_from(days).unwrap();
    let lines = rating::rate(root(payer), &spans, &used, terms, days).unwrap();
    lines
        .into_iter()
        .map(|line| {
            (
                payer,
                line.contract.map(|_| 7),
                line.terms,
                line.first_day + 1,
                line.days,
                line.base_micros,
                line.minor,
            )
        })
        .collect()
}

#[test]
fn the_engine_and_the_naive_oracle_agree_on_random_histories() {
    let histories = if std::env::var("PERDIEM_FULL").is_ok() {
        HISTORIES_FULL
    } else {
        HISTORIES
    };
    let mut random = Random(20_260_401);
    let mut lines = 0;
    for number in 0..histories {
        let (year, month, first_day, days) = MONTHS[usize::try_from(number % 4).unwrap()];
        let naive_terms = random_terms(&mut random);
        let mut members = random_members(&mut random, first_day, days);
        let payers = random_payers(&mut random, &mut members);
        let contracts = [naive::Contract {
            id: 7,
            payers: payers.clone(),
        }];
        let terms: Vec<Terms> = naive_terms.iter().map(engine_terms).collect();

        let mut expected: Vec<_> = naive::month(&naive_terms, &members, &contracts, year, month)
            .into_iter()
            .map(|it| {
                (
                    it.payer,
                    it.contract,
                    it.plan,
                    it.first_day,
                    it.days,
                    it.base_micros,
                    it.cents,
                )
            })
            .collect();
        let mut got: Vec<_> = members
            .iter()
            .flat_map(|member| engine(member.id, &members, &payers, &terms, (first_day, days)))
            .collect();
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(
            got, expected,
            "history {number}: {members:?} {payers:?} {naive_terms:?}"
        );
        lines += got.len();
    }
    println!("{histories} histories, {lines} lines agree");
}

fn engine_terms(from: &naive::Terms) -> Terms {
    let charge = match &from.charge {
        naive::Charge::Free => Charge::Free,
        naive::Charge::Flat { cents } => Charge::Flat { minor: *cents },
        naive::Charge::Percent {
            tiers,
            minimum_cents,
            maximum_cents,
        } => Charge::Percent {
            tiers: tiers
                .iter()
                .map(|(up_to_micros, rate_bps)| Tier {
                    up_to_micros: *up_to_micros,
                    rate_bps: *rate_bps,
                })
                .collect(),
            minimum_minor: *minimum_cents,
            maximum_minor: *maximum_cents,
        },
    };
    Terms {
        plan_code: from.plan.clone(),
        catalogue_version: "v".to_owned(),
        rank: i32::try_from(from.rank).unwrap(),
        currency: Currency::Usd,
        charge,
        rounding: Rounding::HalfUp,
    }
}
