//! Two independent calculations of a month, on random histories: the engine, and a naive oracle that
//! counts day by day and shares no crate with it.

mod naive;

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

/// Up to four members, of whom those after the first may join or leave one contract.
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

/// The engine's input for one payer: the whole timelines of those it pays for.
fn engine(
    payer: u32,
    members: &[naive::Member],
    terms: &[Terms],
    (first_day, days): (i64, i64),
) -> Vec<(u32, Option<u32>, usize, u32, u32, i64, i64)> {
    let pays =
        |member: &naive::Member, contract: Option<u32>| contract.map_or(member.id, |_| 1) == payer;
    let mut spans = Vec::new();
    let mut used = Vec::new();
    for member in members {
        let mut timeline = Vec::new();
        for (place, (start, plan, contract)) in member.history.iter().enumerate() {
            let next = member.history.get(place + 1).map(|it| it.0);
            let end = match (next, member.end) {
                (Some(next), Some(end)) => Some(next.min(end)),
                (next, end) => next.or(end),
            };
            let ended_before = end.is_some_and(|end| end <= first_day * DAY || end <= *start);
            if ended_before || (first_day + days) * DAY <= *start {
                continue;
            }
            let day = |at: i64| at.div_euclid(DAY) - first_day;
            let end_day = end.map_or(i64::from(i32::MAX), |end| {
                if end % DAY == 0 {
                    day(end)
                } else {
                    day(end) + 1
                }
            });
            timeline.push(Span {
                root: root(member.id),
                terms: *plan,
                contract: contract.map(|id| Uuid::from_u128(u128::from(id) << 64)),
                paid_elsewhere: !pays(member, *contract),
                start_day: i32::try_from(day(*start).max(-1)).unwrap(),
                end_day: i32::try_from(end_day).unwrap(),
            });
        }
        if timeline.iter().any(|span| !span.paid_elsewhere) {
            used.extend(member.usage.iter().map(|(day, micros)| Used {
                root: root(member.id),
                day: i32::try_from(day - first_day).unwrap(),
                micros: *micros,
            }));
            spans.extend(timeline);
        }
    }
    let lines = rating::rate(&spans, &used, terms, u32::try_from(days).unwrap()).unwrap();
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
        let members = random_members(&mut random, first_day, days);
        let contracts = [naive::Contract { id: 7, payer: 1 }];
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
            .flat_map(|member| engine(member.id, &members, &terms, (first_day, days)))
            .collect();
        expected.sort_unstable();
        got.sort_unstable();
        assert_eq!(
            got, expected,
            "history {number}: {members:?} {naive_terms:?}"
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
