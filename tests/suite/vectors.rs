//! The worked figures of other billing systems, run through the rules of ours.
//!
//! A vector that is the same as ours, equivalent to it or recommended is executed; every other one
//! has its reason. Equivalent means: others bill in advance, so that a change credits the unused
//! part of the old plan and charges the new one for the rest; we bill in arrears, each plan for its
//! days. The old price and their net are then our lines, and their charge is our second line.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use billing::domain::charge::{Charge, Terms, Tier};
use billing::domain::lots::{self, Lot, LotKind};
use billing::domain::rating::{Line, Span, Used, rate};
use billing::domain::recharge::{self, Mode, Recharge};
use billing::domain::unit_price::{self, Rates};
use billing::domain::usage::{self, Arrival, Changes, SumKey, Values};
use billing::domain::{credit, tax};
use chrono::{DateTime, Datelike as _, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::Value;
use uuid::Uuid;
use values::{Amount, Currency, Money, Period, Ratio, Rounding, Zone, anniversary, elapsed_cycles};

/// What runs a vector through our rules; it panics where they differ.
type Case = fn(&Value);

/// How many vectors are executed.
const EXECUTED: usize = 90;
/// The currency of every figure: all that occur have two decimals.
const USD: Currency = Currency::Usd;
/// The one account.
const ROOT: Uuid = Uuid::from_u128(1);
/// The order in which credit is spent (C-14).
const ORDER: [LotKind; 3] = [LotKind::Trial, LotKind::Promo, LotKind::Paid];
/// An account that tops up and does not need to; sums in millionths.
const IDLE: Recharge = Recharge {
    mode: Mode::TopUpTo {
        target: 200_000_000,
        maximum: i64::MAX,
    },
    threshold: 0,
    minimum: 0,
    balance: 0,
    pending: 0,
    made: 0,
    maximum: None,
    failures: 0,
};

#[test]
fn every_vector_of_ours_is_executed_and_passes() {
    let vectors = vectors();
    let ours: Vec<&Value> = vectors.iter().filter(|vector| is_ours(vector)).collect();
    let table: BTreeMap<&str, Case> = cases().into_iter().collect();
    assert_eq!(table.keys().copied().collect::<BTreeSet<_>>(), ids(&ours));
    assert_eq!(cases().len(), table.len(), "an id stands twice");

    let mut executed = 0;
    let mut failures = Vec::new();
    for vector in ours {
        let id = text(&vector["id"]);
        match catch_unwind(AssertUnwindSafe(|| table[id](vector))) {
            Ok(()) => executed += 1,
            Err(panic) => failures.push(format!("{id}: {}", message(&*panic))),
        }
    }

    assert!(
        failures.is_empty(),
        "{} vectors fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert_eq!(executed, EXECUTED);
}

#[test]
fn every_other_vector_has_its_reason() {
    let vectors = vectors();
    let others: Vec<&Value> = vectors.iter().filter(|vector| !is_ours(vector)).collect();

    let reasoned: BTreeSet<&str> = REASONS.iter().map(|(id, _)| *id).collect();

    assert_eq!(reasoned, ids(&others));
    assert_eq!(REASONS.len(), reasoned.len(), "an id stands twice");
    assert!(REASONS.iter().all(|(_, reason)| reason.ends_with('.')));
}

/// Which case runs which vector.
fn cases() -> Vec<(&'static str, Case)> {
    [CHANGES, MONTHS, CYCLES, USAGE, WALLETS].concat()
}

/// Changes of plan, pro-rated by day.
const CHANGES: &[(&str, Case)] = &[
    ("3s-002", a_change),
    ("cb-001", a_change),
    ("cb-002", a_change),
    ("fp-002", a_change),
    ("fp-003", |v| {
        let (given, expect) = parts(v);
        let (before, after) = text(&given["qty"]).split_once(" -> ").unwrap();
        let of = |quantity: &str| price(&format!("{quantity} x {}", text(&given["unit"])));
        Change {
            old: of(before),
            new: of(after),
            ..Change::read(given)
        }
        .check(expect, 0);
    }),
    ("fp-005", |v| {
        let (given, expect) = parts(v);
        let (removed, on) = (money(&given["removed"]), day(text(&given["change"])));
        let month = Period::month_of(on).unwrap();
        let lines = flat_month(month.days(), &[(-1, removed)], index(month, on));
        assert_eq!(lines, [(14, money(&v["ours"]["expect"]["charge_14_days"]))]);
        assert_eq!(lines[0].1, removed + money(&expect["credit"]));
    }),
    ("kb-rep-002", a_change),
    ("lago-001", |v| {
        let (given, ours) = (&v["given"], &v["ours"]["expect"]);
        let month = Period::month_of(day(text(&given["start"]))).unwrap();
        let start =
            |at: &str, plan: &str| (index(month, day(text(&given[at]))), money(&given[plan]));
        let starts = [
            start("start", "plan1"),
            start("change1", "plan2"),
            start("change2", "plan3"),
        ];
        let lines = flat_month(month.days(), &starts, month.days());
        assert_eq!(lines, slices(&ours["slices"]));
        assert_eq!(sum(&lines), money(&ours["total"]));
        assert_eq!(sum(&lines), money(&v["expect"]["net_before_tax"]));
        check_credit_notes(v, &lines);
    }),
    ("lago-002", |v| {
        let (given, expect) = parts(v);
        let month = cycle(day(text(&given["start"])), 1, 0);
        let on = |change: usize| index(month, day(text(&given["changes"][change])));
        let starts = [
            (0, money(&given["plan1"])),
            (on(0), money(&given["plan2"])),
            (on(1), money(&given["plan3"])),
        ];
        let lines = flat_month(month.days(), &starts, month.days());
        assert_eq!(
            lines[1..],
            [
                (0, 0),
                (number(&expect["days_left"]), moneys(&expect["fees"])[2])
            ]
        );
        check_credit_notes(v, &lines);
    }),
    ("met-002", a_change),
    ("met-004", a_change),
    ("met-005", |v| {
        let (given, expect) = parts(v);
        let (before, after) = text(&given["changed"]).split_once(" -> ").unwrap();
        let (old, new) = (
            price(before) + money(&given["removed"]),
            price(after) + money(&given["added"]),
        );
        Change {
            old,
            new,
            ..Change::read(given)
        }
        .check(expect, 0);
    }),
    ("met-006", a_change),
    ("met-012", a_change),
    // They round each component apart, we the plan as a whole: one minor unit may lie between.
    ("met-013", |v| {
        Change::read(&v["given"]).check(&v["expect"], 1);
    }),
    ("met-014", |v| {
        Change::read(&v["given"]).check(&v["expect"], 1);
    }),
    ("met-016", a_change),
    // The prices are those of met-012, which the figure 43.87 comes from.
    ("met-017", |v| {
        let (before, expect) = (vector("met-012"), &v["expect"]);
        let down = Change::read(&before["given"]);
        assert_eq!(
            sum(&down.lines()),
            down.old - money(&expect["balance_after_1"])
        );

        let plans = [flat(down.old), flat(down.new)];
        let lines = rated(
            down.days,
            &plans,
            &[(-1, 0), (down.on, 1), (down.on, 0)],
            down.days,
            &[],
        );
        assert!(
            lines.iter().all(|line| line.terms == 0),
            "the middle plan owns a day"
        );
        let charged: i64 = lines.iter().map(|line| line.minor).sum();
        assert_eq!(charged - down.old, money(&expect["amount_due"]));

        let applied = micros(&expect["applied_credit"]);
        assert_eq!(
            spend(&[paid_lot(&expect["balance_after_1"])], applied),
            (vec![applied], 0)
        );
    }),
    ("met-018", a_change),
    ("met-019", |v| {
        let (given, expect) = parts(v);
        let before = vector(text(&given["after"]));
        let third = Change::read(&before["given"]);
        let dearer = price(text(&given["change"]).split_once("-> ").unwrap().1);
        let lines = flat_month(
            third.days,
            &[(-1, third.old), (third.on, third.new), (third.on, dearer)],
            third.days,
        );
        assert_eq!(
            (lines[1], lines[2].1),
            ((0, 0), moneys(&expect["lines"])[2])
        );
        assert_eq!(
            sum(&lines),
            third.old + money(&before["expect"]["net"]) + money(&expect["net"])
        );

        let (paid, due) = spend(&[paid_lot(&given["balance"])], micros(&expect["net"]));
        assert_eq!(
            (micros(&given["balance"]) - paid[0], due),
            (micros(&expect["balance_left"]), 0)
        );
        assert_eq!(dearer, money(&expect["next_renewal"]));
        let (_, due) = spend(
            &[paid_lot(&expect["balance_left"])],
            micros(&expect["next_renewal"]),
        );
        assert_eq!(due, micros(&expect["next_due"]));
    }),
    ("met-021", a_change),
    ("met-022", a_change),
    // Their figures are "about": by the second, in a month that they don't name. Ours are of whole
    // days, so that one day's price may lie between; the wrong figures lie much farther off.
    ("ref-007", |v| {
        let (given, expect) = parts(v);
        let plans = moneys(&given["plans"]);
        let once = flat_month(31, &[(-1, plans[0]), (1, plans[1])], 31);
        let twice = flat_month(31, &[(-1, plans[0]), (1, plans[1]), (2, plans[2])], 31);
        assert_eq!(
            once[0], twice[0],
            "the second upgrade changes what the first plan costs"
        );
        // What the second upgrade leaves unused of the plan held, and what remains of the new price.
        let credit = once[1].1 - twice[1].1;
        let charge = plans[2] - credit;
        let about = |ours: i64, theirs: &str| {
            (ours - money(&expect[theirs])).abs() <= slice(plans[1], 1, 31)
        };
        assert!(about(credit, "right_credit_about") && about(charge, "right_charge_about"));
        assert!(!about(credit, "buggy_credit") && !about(charge, "buggy_charge"));
    }),
];

/// Months billed in arrears.
const MONTHS: &[(&str, Case)] = &[
    ("kb-arr-001", |v| {
        let (given, expect) = parts(v);
        let active = period(text(&given["active"]));
        let month = Period::month_of(active.start()).unwrap();
        let lines = flat_month(
            month.days(),
            &[(0, money(&given["monthly"]))],
            index(month, active.end()),
        );
        assert_eq!(lines, [(number(&expect["days"]), money(&expect["charge"]))]);
        assert_eq!(month.days(), number(&expect["days_in_month"]));
    }),
    ("kb-arr-004", |v| {
        let (given, expect) = parts(v);
        let month = month(text(&given["month"]));
        let active = index(month, day(text(&given["changed_on"])));
        assert_eq!(
            slice(money(&given["addon_monthly"]), active, month.days()),
            money(&expect["addon"])
        );
        assert_eq!(
            slice(money(&given["base_monthly"]), active, month.days()),
            money(&expect["base"])
        );
    }),
    ("kb-arr-005", |v| {
        let (given, expect) = parts(v);
        let month = cycle(period(text(&given["period"])).start(), 1, 0);
        let end = index(month, day(text(&given["cancelled_on"])));
        let lines = flat_month(month.days(), &[(0, money(&given["monthly"]))], end);
        assert_eq!(lines, [(number(&expect["days"]), money(&expect["charge"]))]);
        assert_eq!(
            (month, month.days()),
            (
                period(text(&given["period"])),
                number(&expect["denominator"])
            )
        );
    }),
    ("kb-gen-003", |v| {
        let (active, days) = text(&v["given"]["days"]).split_once('/').unwrap();
        assert_eq!(
            slice(money(&v["given"]["monthly"]), count(active), count(days)),
            money(&v["expect"]["amount"])
        );
    }),
    ("lago-doc-001", |v| {
        Change::read(&v["given"]).check_own(&v["expect"]);
    }),
    ("met-007", |v| {
        let (given, expect) = parts(v);
        // What is bought by the piece is rated by the piece, whatever the days that are left.
        let rates = Rates {
            currency: USD,
            pulse_seconds: 60,
            per_pulse_micros: 0,
            per_part_micros: micros(&given["one_time"]),
        };
        let quantity = given["quantity"].as_i64().unwrap() * unit_price::ONE;
        assert_eq!(
            unit_price::price(unit_price::Unit::Parts, quantity, &rates),
            Some(micros(&expect["charge"]))
        );
    }),
    ("met-arr-001", |v| {
        Change::read(&v["given"]).check_own(&v["expect"]);
    }),
    ("met-arr-002", |v| {
        Change::read(&v["given"]).check_own(&v["expect"]);
    }),
    ("min-003", |v| {
        let (given, expect) = parts(v);
        let start = day(text(&given["start"]));
        let month = Period::month_of(start).unwrap();
        let lines = flat_month(
            month.days(),
            &[(index(month, start), money(&given["monthly"]))],
            month.days(),
        );
        assert_eq!(lines[0].0, number(&expect["days"]));
        assert_eq!(with_tax(lines[0].1, &given["tax"]), money(&expect["total"]));
    }),
    ("om-001", |v| {
        let (given, expect) = parts(v);
        let (days, on) = (count(text(&given["period"])), count(text(&given["change"])));
        Change {
            days,
            on,
            old: money(&given["old"]),
            new: money(&given["new"]),
        }
        .check_own(expect);
    }),
    ("om-002", |v| {
        let parts: Vec<_> = items(&v["given"]["amounts"])
            .iter()
            .map(|it| text(it).split_once(" x ").unwrap())
            .collect();
        let (active, days) = parts[0].1.split_once('/').unwrap();
        let starts = [(-1, price(parts[0].0)), (count(active), price(parts[1].0))];
        let lines = flat_month(count(days), &starts, count(days));
        assert_eq!([lines[0].0, lines[1].0], [count(active), count(parts[1].1)]);
        assert_eq!(vec![lines[0].1, lines[1].1], moneys(&v["expect"]["lines"]));
    }),
    ("pct-001", |v| {
        let given = &v["given"];
        let plan = percent(0, &given["rate"], &given["minimum"]);
        let lines = rated(30, &[plan], &[(-1, 0)], 30, &[micros(&given["usage"])]);
        assert_eq!(lines[0].minor, money(&v["expect"]["charge"]));
    }),
    ("pct-011", |v| {
        let (given, expect) = parts(v);
        assert!(given["events"].as_array().unwrap().is_empty());
        let changes = Changes::default();
        let months = changes.by_month().unwrap();
        let charged: i64 = months.values().map(|sum| sum.price_micros).sum();
        assert_eq!(charged, micros(&expect["charge"]));
    }),
    ("tier-013", |v| {
        let (given, expect) = parts(v);
        let month = Period::parse_month("2026-04").unwrap();
        let zone = Zone::parse("UTC").unwrap();
        let minimum = Charge::Percent {
            tiers: vec![Tier {
                up_to_micros: None,
                rate_bps: 0,
            }],
            minimum_minor: money(&given["minimum"]),
            maximum_minor: None,
        };
        for (at, charged) in ["2026-04-15T00:00:00Z", "2026-05-01T00:00:00Z"]
            .iter()
            .zip(expect["charge"].as_array().unwrap())
        {
            let due = billing::domain::run::may_start(month, zone, at.parse().unwrap());
            let total = minimum
                .monthly_total(0, USD)
                .unwrap()
                .rounded(Rounding::HalfUp);
            assert_eq!(if due { total } else { 0 }, i128::from(money(charged)));
        }
    }),
    // A trial is a free plan; upgraded it stays one, up to the day counted from its own start.
    ("trial-002", |v| {
        let (given, expect) = parts(v);
        let (start, upgraded) = (day(text(&given["start"])), day(text(&given["upgraded"])));
        let month = Period::month_of(start).unwrap();
        let trial_days = u32::try_from(number(&given["trial_days"])).unwrap();
        let trial_end = Period::new(start, month.end())
            .unwrap()
            .day(trial_days)
            .unwrap();
        assert_eq!(trial_end, day(text(&expect["trial_end"])));
        let plans = [
            terms(0, Charge::Free),
            terms(1, Charge::Free),
            flat(money(&given["monthly"])),
        ];
        let starts = [
            (index(month, start), 0),
            (index(month, upgraded), 1),
            (index(month, trial_end), 2),
        ];
        let lines = rated(month.days(), &plans, &starts, month.days(), &[]);
        assert_eq!([lines[0].minor, lines[1].minor], [0, 0]);
        assert_eq!(
            (i64::from(lines[2].days), lines[2].minor),
            (number(&expect["days"]), money(&expect["charge"]))
        );
    }),
    // Their figure is in cents and has two decimals of its own: it is not rounded to the cent.
    ("trial-004", |v| {
        let (given, expect) = parts(v);
        let days = number(&given["month_days"]);
        let plans = [terms(0, Charge::Free), flat(money(&given["monthly"]))];
        let lines = rated(
            days,
            &plans,
            &[(0, 0), (number(&given["trial_days"]), 1)],
            days,
            &[],
        );
        let share = lines[1]
            .monthly_total
            .times(i128::from(lines[1].days))
            .unwrap()
            .over(i128::from(days))
            .unwrap();
        let hundredths = share.times(100).unwrap().rounded(Rounding::HalfUp);
        assert_eq!(hundredths, i128::from(money(&expect["charge_cents"])));
        assert_eq!(i128::from(lines[1].minor), share.rounded(Rounding::HalfUp));
    }),
    ("tw-003", |v| {
        let (given, expect) = parts(v);
        let month = month(text(&given["month"]));
        let plan = |rank: i32, plan: &Value| percent(rank, &plan["rate"], &plan["min"]);
        let plans = [plan(1, &given["old"]), plan(2, &given["new"])];
        let starts = [(-1, 0), (index(month, day(text(&given["upgrade_on"]))), 1)];
        let lines = rated(
            month.days(),
            &plans,
            &starts,
            month.days(),
            &[micros(&given["usage_total"])],
        );
        let whole = |name: &str| Ratio::whole(i128::from(money(&expect[name])));
        assert_eq!(
            [lines[0].monthly_total, lines[1].monthly_total],
            [whole("old_full_month"), whole("new_full_month")]
        );
        assert_eq!(
            [lines[0].minor, lines[1].minor],
            [money(&expect["old_charge"]), money(&expect["new_charge"])]
        );
        assert_eq!(lines[0].minor + lines[1].minor, money(&expect["total"]));
    }),
    ("tw-005", |v| {
        let (given, expect) = parts(v);
        let days = month(text(&given["month"])).days();
        let used: Vec<i64> = given["usage"]
            .as_object()
            .unwrap()
            .values()
            .map(micros)
            .collect();
        let lines = rated(
            days,
            &[percent(0, &given["rate"], &given["minimum"])],
            &[(-1, 0)],
            days,
            &used,
        );
        assert_eq!(
            (lines.len(), lines[0].base_micros),
            (1, micros(&expect["base"]))
        );
        assert_eq!(lines[0].minor, money(&expect["charge"]));
    }),
    ("tw-008", |v| {
        let (given, expect) = parts(v);
        let month = month(text(&given["month"]));
        let start = |it: &Value| (index(month, day(text(&it["on"]))), money(&it["monthly"]));
        let starts: Vec<_> = items(&given["changes"]).iter().map(start).collect();
        let lines = flat_month(month.days(), &starts, month.days());
        assert_eq!(
            (sum(&lines), lines),
            (money(&expect["total"]), slices(&expect["slices"]))
        );
    }),
    ("tw-009", |v| {
        let (given, expect) = parts(v);
        let (days, each) = (
            month(text(&given["month"])).days(),
            money(&given["monthly_each"]),
        );
        let lengths = numbers(&given["slices_days"]);
        let lines = flat_month(
            days,
            &[
                (-1, each),
                (lengths[0], each),
                (lengths[0] + lengths[1], each),
            ],
            days,
        );
        let (active, minor): (Vec<i64>, Vec<i64>) = lines.iter().copied().unzip();
        assert_eq!(
            (&active, minor),
            (&lengths, moneys(&expect["largest_remainder"]))
        );
        assert_eq!(sum(&lines), money(&expect["sum"]));
        let apart: Vec<i64> = lengths
            .iter()
            .map(|active| slice(each, *active, days))
            .collect();
        assert_eq!(apart, moneys(&expect["naive_half_up"]));
        assert_eq!(apart.iter().sum::<i64>(), money(&expect["naive_sum"]));
    }),
];

/// Cycles, days and zones.
const CYCLES: &[(&str, Case)] = &[
    ("fp-006", |v| {
        let local_day = |zone: Zone, text: &str| {
            // Only cases in UTC have a time of day, so that it can be added to the day's start.
            let clock = text.split_once('T').map_or("00:00", |(_, clock)| clock);
            let clock = NaiveTime::parse_from_str(clock, "%H:%M").unwrap();
            zone.day(zone.start_of(day(text)) + (clock - NaiveTime::MIN))
        };
        let days = |case: &Value| {
            let zone = Zone::parse(case["tz"].as_str().unwrap_or("UTC")).unwrap();
            let ends = [&case["start"], &case["end"]].map(|end| local_day(zone, text(end)));
            Period::new(ends[0], ends[1]).map_or(0, Period::days)
        };
        let counted: Vec<i64> = items(&v["given"]["cases"]).iter().map(days).collect();
        assert_eq!(counted, numbers(&v["expect"]["days"]));
    }),
    ("kb-cyc-002", |v| {
        let given = &v["given"];
        let running = running(
            anchor(given, "from_"),
            months_of(given),
            day(text(&given["from_"])),
        );
        assert_eq!(running.end(), day(text(&v["expect"]["next"])));
    }),
    ("kb-fac-007", a_part_of_an_anchored_month),
    ("kb-fac-008", a_part_of_an_anchored_month),
    ("kb-fac-009", a_part_of_an_anchored_month),
    // The vector gives no days: these are seven before a cycle, and 47 after the one that follows.
    ("kb-fac-012", |v| {
        let cycles = cycles_between(
            day("2010-01-08"),
            months_of(&v["given"]),
            day("2011-01-01"),
            day("2012-02-24"),
        );
        assert_eq!(cycles, ratio(text(&v["expect"]["cycles"])));
    }),
    ("kb-fac-013", |v| {
        let (given, expect) = parts(v);
        let (start, end) = (day(text(&given["start"])), day(text(&given["cancelled"])));
        for (interval, months) in [("monthly", 1), ("quarterly", 3), ("annual", 12)] {
            assert_eq!(
                cycles_between(start, months, start, end),
                ratio(text(&expect[interval])),
                "{interval}"
            );
        }
    }),
    ("lago-cyc-001", |v| {
        let (given, expect) = parts(v);
        let year = month(text(&given["month"])).start().year();
        let first = cycle(day_of(year, text(&given["subscription_at"])), 1, 0);
        let last = first.day(u32::try_from(first.days() - 1).unwrap());
        assert_eq!(first.end(), day(text(&expect["boundary"])));
        assert_eq!(
            last,
            Some(day(text(&expect["last_day_of_previous_period"])))
        );
    }),
    ("lago-cyc-002", |v| {
        let anchor = day(text(&v["given"]["subscription_at"]));
        for (expected, number) in items(&v["expect"]["billing_days"]).iter().zip(1..) {
            assert_eq!(anniversary(anchor, 1, number), Some(day(text(expected))));
        }
    }),
    ("met-cyc-005", |v| {
        let (given, expect) = parts(v);
        let elapsed = |at: &Value| {
            i64::from(elapsed_cycles(
                day(text(&given["start"])),
                months_of(given),
                day(text(at)),
            ))
        };
        let counted: Vec<i64> = items(&given["at"]).iter().map(elapsed).collect();
        assert_eq!(counted, numbers(&expect["elapsed"]));
    }),
    ("met-cyc-006", |v| {
        let elapsed = |case: &Value| {
            i64::from(elapsed_cycles(
                anchor(case, "start"),
                months_of(case),
                day(text(&case["at"])),
            ))
        };
        let counted: Vec<i64> = items(&v["given"]["cases"]).iter().map(elapsed).collect();
        assert_eq!(counted, numbers(&v["expect"]["elapsed"]));
    }),
    ("met-cyc-008", |v| {
        let (given, expect) = parts(v);
        let (anchor, start) = (anchor(given, "start"), day(text(&given["start"])));
        let end = running(anchor, 3, start).end();
        let factor = cycles_between(anchor, 3, start, end);
        assert_eq!(
            [start, end],
            [0, 1].map(|side: usize| day(text(&expect["period"][side])))
        );
        assert_eq!(factor, ratio(text(&expect["factor"])));
        assert_eq!(
            scaled(money(&given["plan"]), factor),
            money(&expect["first_invoice"])
        );
    }),
    // Our periods are whole days: the hour of their anchor has no counterpart.
    ("om-cyc-003", |v| {
        let (given, expect) = parts(v);
        let running = running(
            day(text(&given["anchor"])),
            months_of(given),
            day(text(&given["at"])),
        );
        let expected = [0, 1].map(|side: usize| day(text(&expect["period"][side])));
        assert_eq!([running.start(), running.end()], expected);
    }),
    ("stripe-cyc-001", |v| {
        let (given, expect) = parts(v);
        let bill = |year: i32, number: u32| {
            let anchor = day_of(year, text(&given["anchor"]));
            anniversary(anchor, 1, number)
                .unwrap()
                .format("%b %d")
                .to_string()
        };
        for (expected, number) in items(&expect["bills"]).iter().zip(1..) {
            assert!(
                text(expected).starts_with(&bill(2026, number)),
                "{expected}"
            );
        }
        assert!(text(&expect["bills"][0]).contains("29 in leap"));
        assert_eq!(bill(2028, 1), "Feb 29");
    }),
    ("tz-001", |v| {
        let (given, expect) = parts(v);
        let (zone, month) = (zone(&given["tz"]), month(text(&given["month"])));
        let end = zone.start_of(month.end());
        assert_eq!(
            zone.start_of(month.start()),
            instant(text(&expect["from_"]))
        );
        assert_eq!(end, instant(text(&v["ours"]["expect"]["to_exclusive"])));
        assert_eq!(end - TimeDelta::seconds(1), instant(text(&expect["to"])));
    }),
    ("tz-002", a_month_between_instants),
    ("tz-004", a_month_between_instants),
    ("tz-005", |v| {
        let (given, expect) = parts(v);
        let month = month(text(&given["month"])).start();
        let at = |event: &Value| match text(event) {
            "mid-March 2024" => instant("2024-03-15T12:00Z"),
            exact => instant(exact),
        };
        for (name, expected) in items(&given["tz"]).iter().zip(numbers(&expect["counted"])) {
            let counted = items(&given["events"])
                .iter()
                .filter(|event| month_used(zone(name), at(event)) == month);
            assert_eq!(i64::try_from(counted.count()), Ok(expected), "{name}");
        }
    }),
    ("tz-006", |v| {
        let (given, expect) = parts(v);
        let mut per_month: BTreeMap<String, i64> = BTreeMap::new();
        for at in items(&given["usage_at"]) {
            let month = month_used(zone(&given["tz"]), instant(text(at)))
                .format("%B")
                .to_string();
            *per_month.entry(month).or_default() += 1;
        }
        let expected = expect["per_month"].as_object().unwrap().iter();
        let expected: BTreeMap<String, i64> = expected
            .map(|(month, count)| (month.clone(), number(count)))
            .collect();
        assert_eq!(per_month, expected);
    }),
];

/// Usage, credits, tax.
const USAGE: &[(&str, Case)] = &[
    ("evt-001", |v| {
        let mut known: BTreeMap<&str, Values> = BTreeMap::new();
        let mut changes = Changes::default();
        for it in items(&v["given"]["events"]) {
            let (id, values) = (text(&it["id"]), event(number(&it["qty"]) * 1_000_000, 0));
            if usage::arrival(&values, known.get(id)) == Arrival::New {
                changes
                    .note(sum_key(day("2026-04-01")), &values, 1)
                    .unwrap();
                known.insert(id, values);
            }
        }
        let counted: i64 = changes.by_day().map(|(_, sum)| sum.quantity_micros).sum();
        assert_eq!(counted, number(&v["expect"]["counted"]) * 1_000_000);
    }),
    // The month of use is billed and closed: the correction joins the next one, by the difference.
    ("evt-002", |v| {
        let (given, expect) = parts(v);
        let (billed, corrected) = (
            event(0, micros(&given["already_billed"])),
            event(0, micros(&given["recomputed"])),
        );
        assert_eq!(
            usage::arrival(&corrected, Some(&billed)),
            Arrival::Correction
        );
        let joined = usage::billing_month(day("2026-03-01"), &[day("2026-03-01")]);
        let mut changes = Changes::default();
        changes.note(sum_key(joined), &billed, -1).unwrap();
        changes.note(sum_key(joined), &corrected, 1).unwrap();
        let months = changes.by_month().unwrap();
        let delta: Vec<_> = months
            .iter()
            .map(|((month, ..), sum)| (*month, sum.price_micros))
            .collect();
        assert_eq!(delta, [(day("2026-04-01"), micros(&expect["delta"]))]);
    }),
    ("fp-009", |v| {
        let (given, expect) = parts(v);
        let credited = credit::creditable(money(&given["unused_list"]), money(&given["billed"]), 0);
        assert_eq!(credited, money(&expect["credit"]));
    }),
    ("inv-002", |v| {
        let (given, expect) = parts(v);
        let kept = Ratio::new(10_000 - i128::from(bps(&given["discount"])), 10_000);
        let taxable = scaled(money(&given["net"]), kept);
        let total = with_tax(taxable, &given["tax"]);
        assert_eq!(taxable, money(&expect["taxable"]));
        assert_eq!(
            (total - taxable, total),
            (money(&expect["tax"]), money(&expect["total"]))
        );
    }),
    ("kb-rep-001", |v| {
        let (given, expect) = parts(v);
        let paid = money(&given["paid"]);
        let lines = Change {
            old: paid,
            new: money(&given["new_monthly"]),
            ..Change::read(given)
        }
        .lines();
        let unused = paid - lines[0].1;
        assert_eq!(
            (unused, lines[1].1),
            (
                money(&expect["unused_list_price"]),
                money(&expect["new_charge"])
            )
        );
        let repair = credit::creditable(unused, paid, -money(&given["item_adjustment"]));
        assert_eq!(-repair, money(&expect["repair"]));
        assert_eq!(repair - lines[1].1, money(&expect["account_credit"]));
    }),
    ("lago-004", |v| {
        let (given, expect) = parts(v);
        let total = money(&given["invoice_total"]);
        let unused = money(&given["unused_value"]);
        assert_eq!(unused, total - money(&given["used_value"]));
        let earned = credit::Earned::of(total, 0, 0);
        let parts = credit::split(earned, 0, unused, total - money(&given["paid"]));
        assert_eq!(
            (parts.net_balance, parts.net_due),
            (money(&expect["refund"]), money(&expect["credit"]))
        );
    }),
    ("lago-008", |v| {
        let (given, expect) = parts(v);
        let billed = with_tax(money(&given["line_net"]), &given["tax"]);
        let notes: Vec<i64> = moneys(&given["line_net"])
            .into_iter()
            .map(|net| with_tax(net, &given["tax"]))
            .collect();
        assert_eq!(billed, money(&expect["invoice_total"]));
        assert_eq!(
            notes.iter().sum::<i64>(),
            money(&expect["sum_of_credit_notes_per_line"])
        );
        let credited = notes.iter().fold(0, |credited, note| {
            credited + credit::creditable(*note, billed, credited)
        });
        assert_eq!(
            credited, billed,
            "what is credited differs from what was billed"
        );
    }),
    ("ref-001", |v| {
        use billing::domain::refund;
        let (given, expect) = parts(v);
        let paid = Amount::parse(given["positive_balance"].as_str().unwrap(), USD).unwrap();
        let paid = refund::Paid {
            lot: ROOT,
            charge: Some(ROOT),
            left_micros: paid.micros(),
            tax_minor: 0,
            net_minor: paid.rounded(Rounding::Down).minor(),
        };
        let parts = refund::parts(&[paid], None, (0, false), Money::from_minor(1, USD));
        assert_eq!(parts[0].refund.minor(), money(&expect["refund"]));
        let closed = "2026-05-01".parse().unwrap();
        let due = values::business_day(closed, 10, &[]);
        assert_eq!(
            (expect["within"].as_str().unwrap(), due),
            ("10 business days", "2026-05-15".parse().unwrap())
        );
        let days = expect["data_deleted_in_days"].as_i64().unwrap();
        let days = i32::try_from(days).unwrap();
        let purged = account_lifecycle::purge_at("2026-05-01T10:00:00Z".parse().unwrap(), days);
        assert_eq!(Some(purged), "2026-05-31T10:00:00Z".parse().ok());
    }),
    ("ref-006", |v| {
        let (given, expect) = parts(v);
        let credit = |it: &Value| {
            credit::creditable(
                money(&it["potential"]),
                money(&it["billed"]),
                money(&it["prior_credits"]),
            )
        };
        let credits: Vec<i64> = items(&given["cases"]).iter().map(credit).collect();
        assert_eq!(credits, moneys(&expect["credit"]));
    }),
];

/// Wallets and top-ups.
const WALLETS: &[(&str, Case)] = &[
    ("kb-inv-001", |v| {
        let (given, expect) = parts(v);
        let (_, balance) = spend(
            &[paid_lot(&given["account_credit"])],
            micros(&given["charge"]),
        );
        assert_eq!(balance, micros(&expect["balance"]));
    }),
    ("top-002", no_top_up),
    ("top-003", |v| {
        let (given, expect) = parts(v);
        // One charge never adds more than was agreed to (D34): theirs in one are ours one after the other.
        let before = topping_up(given, Mode::AddAmount(micros(&given["fixed"])));
        let mut after = before;
        while let Some(charge) = recharge::due(&after) {
            assert_eq!(charge, micros(&given["fixed"]));
            after.balance += charge;
        }
        assert_eq!(
            (after.balance - before.balance, after.balance),
            (micros(&expect["top_up"]), micros(&expect["balance_after"]))
        );
    }),
    ("top-004", |v| {
        let (given, expect) = parts(v);
        let free = topping_up(given, up_to(&given["target"]));
        let bound = Recharge {
            minimum: micros(&given["min_top_up"]),
            ..free
        };
        assert_eq!(recharge::due(&free), Some(micros(&expect["gap"])));
        assert_eq!(recharge::due(&bound), Some(micros(&expect["top_up"])));
    }),
    ("top-007", no_top_up),
    // Their limit is a sum, ours a number of recharges.
    ("top-011", |v| {
        let (given, expect) = parts(v);
        let free = Recharge {
            made: 4,
            maximum: Some(5),
            ..topping_up(given, up_to(&given["target"]))
        };
        assert_eq!(
            recharge::due(&free),
            Some(micros(&expect["top_up_if_not_reached"]))
        );
        assert!(expect["if_reached"].is_null());
        assert_eq!(recharge::due(&Recharge { made: 5, ..free }), None);
    }),
    ("top-012", |v| {
        let failures = u32::try_from(number(&v["given"]["consecutive_failures"])).unwrap();
        let low = Recharge {
            threshold: 1,
            ..IDLE
        };
        assert!(
            recharge::due(&Recharge {
                failures: failures - 1,
                ..low
            })
            .is_some()
        );
        assert_eq!(recharge::due(&Recharge { failures, ..low }), None);
        assert_eq!(text(&v["expect"]["auto_top_up"]), "disabled");
    }),
    ("top-013", |v| {
        let (given, expect) = parts(v);
        let offered =
            recharge::offered(given["card_country"].as_str().unwrap(), &["IN".to_owned()]);
        assert_eq!(
            offered,
            expect["auto_recharge"].as_str().unwrap() != "not offered"
        );
        assert!(recharge::offered("US", &["IN".to_owned()]));
    }),
    ("wal-001", lots_pay_in_order),
    ("wal-002", lots_pay_in_order),
    ("wal-003", lots_pay_in_order),
    ("wal-007", |v| {
        let (given, _) = parts(v);
        let lot = paid_lot(&given["balance"]);
        assert_eq!(
            lots::voided(lot, micros(&given["void"])),
            Err(lots::Overdrawn)
        );
    }),
    ("wal-010", |v| {
        let (given, expect) = parts(v);
        let credits = Amount::from_micros(micros(&given["paid_credits"]), USD);
        assert_eq!(
            i64::from(USD.decimals()),
            number(&given["currency_decimals"])
        );
        assert_eq!(
            credits.rounded(Rounding::HalfUp).minor(),
            money(&expect["credited"])
        );
    }),
    ("wal-011", |v| {
        let (given, expect) = parts(v);
        let (paid, left) = spend(
            &[paid_lot(&given["granted"])],
            micros(&given["subscription_fee"]),
        );
        assert_eq!((paid[0], left), (micros(&expect["paid_from_wallet"]), 0));
        let balance = micros(&given["granted"]) - paid[0];
        assert_eq!(balance, micros(&expect["balance_before_top_up"]));
        // No minimum, as the rule ignores limits.
        let mode = Mode::AddAmount(micros(&given["fixed_paid"]));
        let charge = recharge::due(&Recharge {
            mode,
            threshold: micros(&given["threshold"]),
            balance,
            ..IDLE
        });
        assert_eq!(balance + charge.unwrap(), micros(&expect["balance_after"]));
    }),
    ("wal-012", |v| {
        let (given, expect) = parts(v);
        let (paid, left) = spend(
            &[paid_lot(&given["credit_balance"])],
            micros(&given["charge"]),
        );
        assert_eq!(
            (paid[0], left),
            (micros(&expect["credits_used"]), micros(&expect["invoice"]))
        );
    }),
    ("wal-015", |v| {
        let (given, expect) = parts(v);
        let mut own: Vec<Lot> = given["lots"]
            .as_array()
            .unwrap()
            .iter()
            .zip(1..)
            .map(|(lot, id)| Lot {
                id: Uuid::from_u128(id),
                kind: if lot["kind"] == "paid" {
                    LotKind::Paid
                } else {
                    LotKind::Promo
                },
                priority: i16::try_from(lot["priority"].as_i64().unwrap()).unwrap(),
                expires_at: if lot["expires"] == "Sep 1" {
                    "2026-09-01T00:00:00Z"
                } else {
                    "2026-08-15T00:00:00Z"
                }
                .parse()
                .ok(),
                ..paid_lot(&lot["amount"])
            })
            .collect();
        lots::sort(&mut own, &[LotKind::Trial, LotKind::Promo, LotKind::Paid]);
        let at = "2026-08-01T00:00:00Z".parse().unwrap();
        let (payments, left) = lots::consume(&own, micros(&given["usage"]), at);
        assert_eq!(left, 0);
        for (name, id) in [("A", 1), ("B", 2), ("C", 3)] {
            let paid = payments
                .iter()
                .find(|it| it.lot == Uuid::from_u128(id))
                .map_or(0, |it| it.micros);
            assert_eq!(paid, micros(&expect["consumed"][name]), "{name}");
        }
    }),
    ("wal-018", |v| {
        let (given, expect) = parts(v);
        let (how_many, each) = text(&given["lots"]).split_once(" lots of ").unwrap();
        let made = |id: u32| {
            let expires_at = Some(at(if id == 50_000 { 2_000_000 } else { 2_086_400 }));
            Lot {
                expires_at,
                ..lot(id, LotKind::Promo, count(each) * 1_000_000)
            }
        };
        let held: Vec<Lot> = (0..u32::try_from(count(how_many)).unwrap())
            .map(made)
            .collect();
        let (paid, left) = spend(&held, micros(&given["usage"]));
        assert_eq!(left, 0);
        for (id, paid) in paid.iter().enumerate() {
            let name = if id == 50_000 {
                "earliest"
            } else {
                "all_others"
            };
            assert_eq!(
                held[id].remaining_micros - paid,
                micros(&expect["remaining"][name]),
                "{id}"
            );
        }
    }),
    ("wal-021", |v| {
        let (given, expect) = parts(v);
        let expiring = Lot {
            expires_at: Some(now()),
            ..paid_lot(&given["lot"])
        };
        assert_eq!(
            spend(&[expiring], 1),
            (vec![micros(&expect["lot_used"])], 1)
        );
    }),
    ("wal-026", |v| {
        let (given, expect) = parts(v);
        let net =
            money(&given["subscription"]) + money(&given["charges"]) - money(&given["coupon"]);
        let total = with_tax(net, &given["tax"]);
        assert_eq!(
            (net, total - net),
            (money(&expect["net"]), money(&expect["tax"]))
        );
        let open = total - credit::creditable(money(&given["credit_note"]), total, 0);
        let open = Money::from_minor(open, USD).amount().unwrap().micros();
        assert_eq!(
            spend(&[paid_lot(&given["prepaid"])], open).1,
            micros(&expect["due"])
        );
    }),
];

/// Why the other vectors don't bind us.
const REASONS: &[(&str, &str)] = &[
    (
        "exo-cyc-001",
        "Cycles end with their months, so that five months from 31 October end on 31 March, not on the document's 30th.",
    ),
    (
        "exo-life-001",
        "What follows ten days of a negative balance is a policy of the account's profile; denial follows the balance at once (D4).",
    ),
    (
        "fp-007",
        "We charge the ten whole days that were active, in arrears; seconds are not counted (C-05).",
    ),
    (
        "kb-fac-005",
        "A month has its calendar days, never thirty (REQ-016).",
    ),
    (
        "kb-fix-001",
        "A month has its calendar days, never thirty (REQ-016), so that the two amounts split elsewhere.",
    ),
    (
        "lago-003",
        "Nothing is paid in advance, so nothing is credited; a plan ended at the start of a day does not hold that day.",
    ),
    (
        "lago-005",
        "Nothing is paid in advance, so there is no credit note whose rounded parts could miss the whole.",
    ),
    (
        "lago-006",
        "Segments are half-open: a plan ended at the start of a day does not hold that day.",
    ),
    (
        "lago-sw-001",
        "A change goes up or down by the plan's rank and waits as the family's rule table says (C-01, C-23), not by daily price.",
    ),
    (
        "met-010",
        "The percentage is a charge on the usage of the whole month, and such a charge is shared by days (C-06).",
    ),
    (
        "myop-001",
        "A change in mid-month makes slices by day instead of rating the whole month again (C-04).",
    ),
    (
        "om-003",
        "The first month is shared by whole days, eleven here, and not by seconds (C-05).",
    ),
    (
        "pct-006",
        "The first month is shared by its days, 16 of 31 here, and not rounded to a half (C-05).",
    ),
    (
        "ref-003",
        "Fee and least sum of a refund are figures of the profile, and those of `india` are 5 % and 1,000 (C-13).",
    ),
    (
        "str-001",
        "We bill May by the day and in arrears; June is not on that invoice.",
    ),
    (
        "tier-005",
        "A tier's bound is the inclusive upper bound of usage, not the size of the tier (D10).",
    ),
    (
        "top-005",
        "A cap that the customer sets must hold for automatic charges above all.",
    ),
    (
        "trial-009",
        "What becomes of trial credit at the upgrade is a policy of the profile; the default forfeits it too (C-21).",
    ),
    (
        "tw-004",
        "The article's newer text gives each plan its days; the older one charged whole months (C-04).",
    ),
    (
        "wal-013",
        "Whether credit that does not suffice blocks or leaves an invoice is how the account settles, and ours may be overdrawn (D8).",
    ),
    (
        "wal-025",
        "Promotional credit is spent as usage arrives and before paid credit, not once a month (C-14).",
    ),
];

// Cases of several vectors.

/// A change of one plan for another.
fn a_change(v: &Value) {
    let change = Change::read(&v["given"]);
    change.check(&v["expect"], 0);
    if let Some(ours) = v["ours"].get("expect") {
        change.check_own(ours);
    }
}

/// A stretch of a month that is counted from its anchor.
fn a_part_of_an_anchored_month(v: &Value) {
    let (given, expect) = parts(v);
    let month = cycle(anchor(given, "start"), 1, 0);
    let (start, end) = (
        index(month, day(text(&given["start"]))),
        index(month, day(text(&given["end"]))),
    );
    let (days, minor) = flat_month(month.days(), &[(start, 100_00)], end)[0];
    let fraction = ratio(text(&expect["fraction"]));
    assert_eq!(
        Ratio::new(i128::from(days), i128::from(month.days())),
        fraction
    );
    assert_eq!(minor, scaled(100_00, fraction));
}

/// A calendar month of a zone.
fn a_month_between_instants(v: &Value) {
    let (given, expect) = parts(v);
    let (zone, month) = (zone(&given["tz"]), month(text(&given["month"])));
    let expected = [0, 1].map(|side: usize| instant(text(&expect["period"][side])));
    assert_eq!(
        [zone.start_of(month.start()), zone.start_of(month.end())],
        expected
    );
}

/// A balance that is not topped up, in neither mode: not below its threshold, or a top-up is under way.
fn no_top_up(v: &Value) {
    assert!(v["expect"]["top_up"].is_null());
    let pending = v["given"].get("pending_top_up").map_or(0, micros);
    for mode in [IDLE.mode, Mode::AddAmount(10_000_000)] {
        let idle = topping_up(&v["given"], mode);
        assert_eq!(
            recharge::due(&idle).is_some(),
            pending != 0,
            "only what is under way stops it"
        );
        assert_eq!(recharge::due(&Recharge { pending, ..idle }), None);
    }
}

/// Lots without expiry; what comes first by priority is for us a kind that comes first.
fn lots_pay_in_order(v: &Value) {
    let (given, expect) = parts(v);
    let kind = |it: &Value| {
        if it["priority"] == 2 {
            LotKind::Paid
        } else {
            LotKind::Promo
        }
    };
    let held = items(&given["lots"])
        .iter()
        .zip(1..)
        .map(|(it, id)| lot(id, kind(it), micros(&it["amount"])));
    let held: Vec<Lot> = held.collect();
    let amounts = |value: &Value| items(value).iter().map(micros).collect::<Vec<i64>>();
    let (paid, left) = spend(&held, micros(&given["charge"]));
    let remaining: Vec<i64> = held
        .iter()
        .zip(&paid)
        .map(|(lot, paid)| lot.remaining_micros - paid)
        .collect();
    assert_eq!((left, remaining), (0, amounts(&expect["remaining"])));
    assert!(
        expect
            .get("consumed")
            .is_none_or(|consumed| amounts(consumed) == paid),
        "{paid:?}"
    );
}

/// Checks that fees less credit notes, tax included, are what our lines come to with theirs.
fn check_credit_notes(v: &Value, lines: &[(i64, i64)]) {
    let (rate, expect) = (&v["given"]["tax"], &v["expect"]);
    let theirs = with_tax(money(&expect["fees"]), rate) - money(&expect["credit_notes_incl_tax"]);
    assert_eq!(with_tax(sum(lines), rate), theirs);
}

/// A change of plan within a month; days are counted from its first, prices are in minor units.
struct Change {
    /// The days of the month.
    days: i64,
    /// The first day of the new plan.
    on: i64,
    /// The old plan's price.
    old: i64,
    /// The new plan's price.
    new: i64,
}

impl Change {
    /// What a vector gives of a change: without a day it falls in the middle of 30.
    fn read(given: &Value) -> Self {
        let price = |name: &str| given.get(name).map_or(0, money);
        let (old, new) = (price("old"), price("new"));
        let named = ["change", "change_on", "upgrade_on"]
            .iter()
            .find_map(|name| given.get(*name))
            .map(text);
        let Some(on) = named.filter(|on| *on != "middle of month") else {
            return Self {
                days: 30,
                on: 15,
                old,
                new,
            };
        };
        let on = if on.starts_with(|c: char| c.is_ascii_digit()) {
            day(on)
        } else {
            // Where the vector names no year, April and any year will do.
            day_of(
                given
                    .get("month")
                    .map_or(2026, |it| month(text(it)).start().year()),
                on,
            )
        };
        // Half-open, unless it says that its end counts: then it is the calendar month.
        let half_open = given
            .get("period")
            .map(text)
            .filter(|it| it.contains("..") && !it.contains("inclusive"));
        let period = half_open.map_or_else(|| Period::month_of(on).unwrap(), period);
        Self {
            days: period.days(),
            on: index(period, on),
            old,
            new,
        }
    }

    /// Our lines for the old plan and the new one: days and minor units.
    fn lines(&self) -> Vec<(i64, i64)> {
        flat_month(self.days, &[(-1, self.old), (self.on, self.new)], self.days)
    }

    /// Checks our lines against what others credit and charge, and against their net, to `within`
    /// minor units.
    fn check(&self, expect: &Value, within: i64) {
        let all = |names: &[&str]| {
            let found: Vec<i64> = names
                .iter()
                .filter_map(|name| expect.get(*name))
                .map(|it| money(it).abs())
                .collect();
            if found.is_empty() {
                None
            } else {
                Some(found.iter().sum::<i64>())
            }
        };
        let mut credit = all(&[
            "credit",
            "credits",
            "credit_platform",
            "credit_seats",
            "unused_credit",
            "repair",
        ]);
        let mut charge = all(&[
            "charge",
            "charges",
            "charge_platform",
            "charge_seats",
            "new_charge",
        ]);
        if let Some(lines) = expect.get("lines").map(moneys) {
            credit = Some(lines.iter().map(|line| (-line).max(0)).sum());
            charge = Some(lines.iter().map(|line| (*line).max(0)).sum());
        }
        let net = expect.get("net").or(expect.get("total")).map(money);
        let net = net.or(all(&["net_credit", "account_credit"]).map(|credit| -credit));
        let net = net.unwrap_or_else(|| charge.unwrap() - credit.unwrap());

        let lines = self.lines();
        let near = |ours: i64, theirs: i64| {
            assert!(
                (ours - theirs).abs() <= within,
                "{ours} instead of {theirs}"
            );
        };
        near(sum(&lines), self.old + net);
        near(
            lines[0].1,
            credit.map_or(lines[0].1, |credit| self.old - credit),
        );
        near(lines[1].1, charge.unwrap_or(lines[1].1));
        assert!(
            expect
                .get("days")
                .is_none_or(|days| number(days) == lines[1].0)
        );
        let factor = Ratio::new(i128::from(lines[1].0), i128::from(self.days));
        assert!(
            expect
                .get("factor")
                .is_none_or(|it| ratio(text(it)) == factor)
        );
    }

    /// Checks our lines against figures of lines: "old", "`new_days`", "`old_20_days`", "total".
    fn check_own(&self, figures: &Value) {
        let lines = self.lines();
        for (name, value) in figures.as_object().unwrap() {
            let (days, minor) = match name.get(..3) {
                Some("old") => lines[0],
                Some("new") => lines[1],
                Some("tot") => (self.days, sum(&lines)),
                _ => panic!("not a figure of a line: {name}"),
            };
            assert_eq!(value.as_i64().unwrap_or(days), days, "{name}");
            assert_eq!(
                if value.is_string() {
                    money(value)
                } else {
                    minor
                },
                minor,
                "{name}"
            );
            assert_eq!(
                if name.contains(|c: char| c.is_ascii_digit()) {
                    count(name)
                } else {
                    days
                },
                days,
                "{name}"
            );
        }
    }
}

// Reading vectors.

/// All vectors.
fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/vectors.json")).unwrap()
}

/// The vector of this id.
fn vector(id: &str) -> Value {
    vectors()
        .into_iter()
        .find(|vector| vector["id"] == id)
        .unwrap()
}

/// The ids of `vectors`.
fn ids<'a>(vectors: &[&'a Value]) -> BTreeSet<&'a str> {
    vectors.iter().map(|vector| text(&vector["id"])).collect()
}

/// Whether a vector binds us.
fn is_ours(vector: &Value) -> bool {
    matches!(
        text(&vector["ours"]["relation"]),
        "same" | "equivalent" | "recommended"
    )
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&'static str>().copied();
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or(literal)
        .unwrap_or("panicked")
}

/// What a vector gives and what it expects.
fn parts(v: &Value) -> (&Value, &Value) {
    (&v["given"], &v["expect"])
}

/// The string in `value`.
fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
}

/// The number in `value`.
fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("not a number: {value}"))
}

/// The members of the array in `value`.
fn items(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not an array: {value}"))
}

/// The numbers in the array in `value`.
fn numbers(value: &Value) -> Vec<i64> {
    items(value).iter().map(number).collect()
}

/// The plain decimal that `text` begins with: "100.00" of "100.00 EUR/month".
fn figure(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
    text.split_at(end.unwrap_or(text.len())).0
}

/// The first whole number in `text`.
fn count(text: &str) -> i64 {
    let digits = text
        .split(|c: char| !c.is_ascii_digit())
        .find(|part| !part.is_empty());
    digits.unwrap().parse().unwrap()
}

/// The minor units of a price such as "29.00 + 5 x 10.00".
fn price(text: &str) -> i64 {
    let component = |part: &str| {
        let (quantity, each) = part.split_once(" x ").unwrap_or(("1", part));
        let quantity = Ratio::whole(quantity.parse().unwrap());
        Money::parse(figure(each), USD)
            .unwrap()
            .scaled(quantity, Rounding::HalfUp)
            .unwrap()
    };
    let sum = |sum: Money, part: Money| sum.plus(part).unwrap();
    text.split(" + ")
        .map(component)
        .fold(Money::from_minor(0, USD), sum)
        .minor()
}

/// The minor units in `value`: of a string, or of all members of an array or object together.
fn money(value: &Value) -> i64 {
    if let Some(parts) = value.as_object() {
        return parts.values().map(money).sum();
    }
    if let Some(parts) = value.as_array() {
        return parts.iter().map(money).sum();
    }
    price(text(value))
}

/// The minor units of each member of the array in `value`.
fn moneys(value: &Value) -> Vec<i64> {
    items(value).iter().map(money).collect()
}

/// The days and minor units of the slices in `value`.
fn slices(value: &Value) -> Vec<(i64, i64)> {
    items(value)
        .iter()
        .map(|it| (number(&it["days"]), money(&it["amount"])))
        .collect()
}

/// The millionths in `value`.
fn micros(value: &Value) -> i64 {
    Amount::parse(figure(text(value)), USD).unwrap().micros()
}

/// The basis points in `value`: "8.25%" has hundredths as a sum of money has.
fn bps(value: &Value) -> i64 {
    money(value)
}

/// The fraction in `text`: "1 + 7/365".
fn ratio(text: &str) -> Ratio {
    let part = |part: &str| {
        let (numerator, denominator) = part.split_once('/').unwrap_or((part, "1"));
        Ratio::new(numerator.parse().unwrap(), denominator.parse().unwrap())
    };
    text.split(" + ")
        .map(part)
        .fold(Ratio::ZERO, |sum, part| sum.plus(part).unwrap())
}

/// The day that `text` begins with.
fn day(text: &str) -> NaiveDate {
    text.get(..10).unwrap().parse().unwrap()
}

/// The day that "Jan 31" is in `year`.
fn day_of(year: i32, text: &str) -> NaiveDate {
    NaiveDate::parse_from_str(&format!("{year} {text}"), "%Y %b %d").unwrap()
}

/// The calendar month that `text` begins with.
fn month(text: &str) -> Period {
    Period::parse_month(text.get(..7).unwrap()).unwrap()
}

/// The days of "2012-04-01..2012-05-01", the last one not among them.
fn period(text: &str) -> Period {
    let (start, end) = text.split_once("..").unwrap();
    Period::new(day(start), day(end)).unwrap()
}

/// How many days after the first of `period` a day is.
fn index(period: Period, day: NaiveDate) -> i64 {
    (day - period.start()).num_days()
}

/// The instant of "2024-02-29T18:30Z", with seconds or without.
fn instant(text: &str) -> DateTime<Utc> {
    let (minute, rest) = text.split_at(16);
    let seconds = if rest.starts_with(':') { "" } else { ":00" };
    DateTime::parse_from_rfc3339(&format!("{minute}{seconds}{rest}"))
        .unwrap()
        .with_timezone(&Utc)
}

/// The zone that `value` names.
fn zone(value: &Value) -> Zone {
    Zone::parse(text(value)).unwrap()
}

// Asking our rules.

/// The terms of a plan.
fn terms(rank: i32, charge: Charge) -> Terms {
    Terms {
        plan_code: format!("rank{rank}"),
        catalogue_version: "vectors".to_owned(),
        rank,
        currency: USD,
        charge,
        rounding: Rounding::HalfUp,
    }
}

/// A flat plan; the dearer, the higher it ranks.
fn flat(minor: i64) -> Terms {
    terms(i32::try_from(minor).unwrap(), Charge::Flat { minor })
}

/// A plan of one rate with a minimum.
fn percent(rank: i32, rate: &Value, minimum: &Value) -> Terms {
    let tiers = vec![Tier {
        up_to_micros: None,
        rate_bps: u32::try_from(bps(rate)).unwrap(),
    }];
    terms(
        rank,
        Charge::Percent {
            tiers,
            minimum_minor: money(minimum),
            maximum_minor: None,
        },
    )
}

/// The lines of one account's month: each of `starts` is a day and which of `plans` starts on it;
/// `end` is the day after the last; `used` is in millionths.
fn rated(days: i64, plans: &[Terms], starts: &[(i64, usize)], end: i64, used: &[i64]) -> Vec<Line> {
    // What ends within a day holds that day too, unless another plan starts on it.
    let ends = starts.iter().skip(1).map(|(day, _)| day + 1).chain([end]);
    let span = |((start_day, plan), end_day): (&(i64, usize), i64)| Span {
        root: ROOT,
        terms: *plan,
        contract: None,
        payer: ROOT,
        start_day: i32::try_from(*start_day).unwrap(),
        end_day: i32::try_from(end_day).unwrap(),
    };
    let spans: Vec<Span> = starts.iter().zip(ends).map(span).collect();
    let used: Vec<Used> = used
        .iter()
        .map(|micros| Used {
            root: ROOT,
            micros: *micros,
        })
        .collect();
    rate(ROOT, &spans, &used, plans, u32::try_from(days).unwrap()).unwrap()
}

/// Days and minor units of each of several flat plans in a month, given by start and price; a plan
/// that owns no day has neither.
fn flat_month(days: i64, starts: &[(i64, i64)], end: i64) -> Vec<(i64, i64)> {
    let plans: Vec<Terms> = starts.iter().map(|(_, price)| flat(*price)).collect();
    let order: Vec<(i64, usize)> = starts
        .iter()
        .enumerate()
        .map(|(plan, (day, _))| (*day, plan))
        .collect();
    let lines = rated(days, &plans, &order, end, &[]);
    let of = |plan: usize| {
        let own = lines.iter().filter(|line| line.terms == plan);
        own.fold((0, 0), |(days, minor), line| {
            (days + i64::from(line.days), minor + line.minor)
        })
    };
    (0..starts.len()).map(of).collect()
}

/// The minor units of `active` days of a flat plan in a month of `days`.
fn slice(price: i64, active: i64, days: i64) -> i64 {
    flat_month(days, &[(0, price)], active)[0].1
}

/// The sum of minor units.
fn sum(lines: &[(i64, i64)]) -> i64 {
    lines.iter().map(|(_, minor)| minor).sum()
}

/// `minor × factor`, rounded once.
fn scaled(minor: i64, factor: Ratio) -> i64 {
    Money::from_minor(minor, USD)
        .scaled(factor, Rounding::HalfUp)
        .unwrap()
        .minor()
}

/// `net` and its tax.
fn with_tax(net: i64, rate: &Value) -> i64 {
    let net = Money::from_minor(net, USD);
    net.plus(tax::tax(net, bps(rate)).unwrap()).unwrap().minor()
}

/// Cycle `number` of `months` months, counted from `anchor`.
fn cycle(anchor: NaiveDate, months: u32, number: u32) -> Period {
    let start = |number| anniversary(anchor, months, number).unwrap();
    Period::new(start(number), start(number + 1)).unwrap()
}

/// How many cycles lie between two days: each counts by its days.
fn cycles_between(anchor: NaiveDate, months: u32, start: NaiveDate, end: NaiveDate) -> Ratio {
    let numbers = elapsed_cycles(anchor, months, start)..=elapsed_cycles(anchor, months, end);
    numbers.fold(Ratio::ZERO, |sum, number| {
        let whole = cycle(anchor, months, number);
        let active =
            Period::new(start.max(whole.start()), end.min(whole.end())).map_or(0, Period::days);
        sum.plus(Ratio::new(i128::from(active), i128::from(whole.days())))
            .unwrap()
    })
}

/// The cycle that holds `day`.
fn running(anchor: NaiveDate, months: u32, day: NaiveDate) -> Period {
    cycle(anchor, months, elapsed_cycles(anchor, months, day))
}

/// The day under `name`, moved to the anchor's day of the month if the vector gives one.
fn anchor(given: &Value, name: &str) -> NaiveDate {
    let start = day(text(&given[name]));
    let anchor_day = given["anchor_day"]
        .as_u64()
        .map(|day| u32::try_from(day).unwrap());
    start.with_day(anchor_day.unwrap_or(start.day())).unwrap()
}

/// The months of the interval that a vector gives.
fn months_of(given: &Value) -> u32 {
    match text(&given["interval"]) {
        "monthly" => 1,
        "quarterly" => 3,
        "annual" => 12,
        other => panic!("not an interval: {other}"),
    }
}

/// The first day of the month that an instant's usage belongs to.
fn month_used(zone: Zone, at: DateTime<Utc>) -> NaiveDate {
    usage::month_of(zone.day(at))
}

/// The values of an event.
fn event(quantity_micros: i64, price_micros: i64) -> Values {
    Values {
        account: ROOT,
        category: "sms".to_owned(),
        used_at: now(),
        quantity_micros,
        price_micros,
        rated: false,
        unbilled: false,
    }
}

/// Where usage is summed that is billed in this month.
fn sum_key(billing_month: NaiveDate) -> SumKey {
    SumKey {
        root: ROOT,
        billing_month,
        day: day("2026-03-01"),
        category: "sms".to_owned(),
    }
}

/// This many seconds after the epoch.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// When lots are spent.
fn now() -> DateTime<Utc> {
    at(1_000_000)
}

/// A lot that never expires; the greater its id, the younger it is.
fn lot(id: u32, kind: LotKind, micros: i64) -> Lot {
    let created_at = at(i64::from(id));
    Lot {
        id: Uuid::from_u128(u128::from(id)),
        kind,
        priority: 0,
        remaining_micros: micros,
        created_at,
        expires_at: None,
    }
}

/// A lot that was paid in.
fn paid_lot(amount: &Value) -> Lot {
    lot(1, LotKind::Paid, micros(amount))
}

/// What each of the lots pays of `micros`, and what none covers.
fn spend(held: &[Lot], micros: i64) -> (Vec<i64>, i64) {
    let mut sorted = held.to_vec();
    sorted.reverse(); // So that their order is the rule's and not the vector's.
    lots::sort(&mut sorted, &ORDER);
    let (payments, left) = lots::consume(&sorted, micros, now());
    let paid = |lot: &Lot| {
        payments
            .iter()
            .filter(|payment| payment.lot == lot.id)
            .map(|payment| payment.micros)
            .sum()
    };
    (held.iter().map(paid).collect(), left)
}

/// A target, in one charge of any size.
fn up_to(target: &Value) -> Mode {
    Mode::TopUpTo {
        target: micros(target),
        maximum: i64::MAX,
    }
}

/// An account that tops up in this mode, with the threshold and the balance that a vector gives.
fn topping_up(given: &Value, mode: Mode) -> Recharge {
    Recharge {
        mode,
        threshold: micros(&given["threshold"]),
        balance: micros(&given["balance"]),
        ..IDLE
    }
}
