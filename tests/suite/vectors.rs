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

/// Which case runs which vector.
const CASES: &[(&str, Case)] = &[
    // Changes of plan, pro-rated by day.
    ("3s-002", a_change_in_the_middle),
    ("cb-001", a_downgrade_with_a_net_credit),
    ("cb-002", a_downgrade_on_the_fifth),
    ("fp-002", a_downgrade_in_a_month_of_31_days),
    ("fp-003", a_change_of_quantity),
    ("fp-005", an_add_on_removed),
    ("kb-rep-002", a_downgrade_with_a_repair),
    ("lago-001", three_plans_in_a_week_of_a_calendar_month),
    ("lago-002", three_plans_in_a_week_of_an_anchored_month),
    ("met-002", a_change_on_the_first_day),
    ("met-004", a_change_on_the_last_day),
    ("met-005", components_changed_added_and_removed),
    ("met-006", seats_changed_in_the_middle),
    ("met-012", a_downgrade_of_two_components),
    ("met-013", components_rounded_apart),
    ("met-014", components_rounded_apart),
    ("met-016", a_component_that_stays),
    ("met-017", down_and_up_again_on_one_day),
    ("met-018", a_third_change),
    ("met-019", credit_that_absorbs_a_change_and_a_renewal),
    ("met-021", capacity_changed_in_the_middle),
    ("met-022", a_change_in_february),
    ("ref-007", a_second_upgrade_soon_after_the_first),
    // Months billed in arrears.
    ("kb-arr-001", a_plan_paused),
    ("kb-arr-004", a_plan_and_an_add_on_changed),
    ("kb-arr-005", a_cancelled_anchored_month),
    ("kb-gen-003", a_share_of_days),
    ("lago-doc-001", an_upgrade_in_arrears),
    ("met-007", no_rule_of_ours_yet),
    ("met-arr-001", a_split_of_february),
    ("met-arr-002", a_split_of_february),
    ("min-003", a_first_month_with_tax),
    ("om-001", a_change_after_one_day),
    ("om-002", shares_of_two_prices),
    ("pct-001", a_percentage_above_its_minimum),
    ("pct-011", no_rule_of_ours_yet),
    ("tier-013", no_rule_of_ours_yet),
    ("trial-002", a_plan_upgraded_during_its_trial),
    ("trial-004", a_share_kept_exact_until_it_is_rounded),
    ("tw-003", minimums_of_both_slices),
    ("tw-005", usage_of_subaccounts),
    ("tw-008", three_slices_that_tile_a_month),
    ("tw-009", slices_of_one_price_that_add_up),
    // Cycles, days and zones.
    ("fp-006", days_between_instants_of_a_zone),
    ("kb-cyc-002", an_anchor_clamped_to_a_leap_day),
    ("kb-fac-007", a_part_of_an_anchored_month),
    ("kb-fac-008", a_part_of_an_anchored_month),
    ("kb-fac-009", a_part_of_an_anchored_month),
    ("kb-fac-012", years_with_and_without_a_leap_day),
    ("kb-fac-013", one_stretch_of_three_cycles),
    ("lago-cyc-001", a_boundary_clamped_to_february),
    ("lago-cyc-002", boundaries_after_a_leap_day),
    ("met-cyc-005", cycles_elapsed_at_clamped_days),
    ("met-cyc-006", cycles_elapsed_of_three_intervals),
    ("met-cyc-008", a_stub_quarter),
    ("om-cyc-003", a_cycle_that_holds_an_instant),
    ("stripe-cyc-001", bills_of_an_anchor_on_the_31st),
    ("tz-001", a_month_in_new_york),
    ("tz-002", a_month_between_instants),
    ("tz-004", a_month_between_instants),
    ("tz-005", usage_of_a_month_in_two_zones),
    ("tz-006", usage_around_the_first_of_a_month),
    // Usage, credits, tax.
    ("evt-001", repeated_events_count_once),
    ("evt-002", late_usage_bills_the_difference),
    ("fp-009", a_credit_of_a_discounted_bill),
    ("inv-002", a_discount_before_tax),
    ("kb-rep-001", a_repair_after_an_adjustment),
    ("lago-004", a_refund_of_what_was_paid),
    ("lago-008", credit_notes_capped_by_the_invoice),
    ("ref-001", no_rule_of_ours_yet),
    ("ref-006", credits_capped_by_what_is_left),
    // Wallets and top-ups.
    ("kb-inv-001", a_credit_against_a_charge),
    ("top-002", a_threshold_not_crossed),
    ("top-003", one_top_up_for_the_whole_gap),
    ("top-004", a_target_raised_to_the_minimum),
    ("top-007", a_top_up_under_way),
    ("top-011", a_monthly_limit),
    ("top-012", three_failures),
    ("top-013", no_rule_of_ours_yet),
    ("wal-001", lots_pay_in_order),
    ("wal-002", lots_pay_in_order),
    ("wal-003", lots_pay_in_order),
    ("wal-007", no_rule_of_ours_yet),
    ("wal-010", credits_rounded_to_the_currency),
    ("wal-011", a_fee_that_crosses_the_threshold),
    ("wal-012", credit_then_invoice),
    ("wal-015", no_rule_of_ours_yet),
    ("wal-018", the_earliest_of_very_many_lots),
    ("wal-021", a_lot_that_expires_now),
    ("wal-026", coupon_then_tax_then_credits),
];

/// Why the other vectors don't bind us.
const REASONS: &[(&str, &str)] = &[
    ("exo-cyc-001", "Cycles end with their months, so that five months from 31 October end on 31 March, not on the document's 30th."),
    ("exo-life-001", "What follows ten days of a negative balance is a policy of the account's profile; denial follows the balance at once (D4)."),
    ("fp-007", "We charge the ten whole days that were active, in arrears; seconds are not counted (C-05)."),
    ("kb-fac-005", "A month has its calendar days, never thirty (REQ-016)."),
    ("kb-fix-001", "A month has its calendar days, never thirty (REQ-016), so that the two amounts split elsewhere."),
    ("lago-003", "Nothing is paid in advance, so nothing is credited; a plan ended at the start of a day does not hold that day."),
    ("lago-005", "Nothing is paid in advance, so there is no credit note whose rounded parts could miss the whole."),
    ("lago-006", "Segments are half-open: a plan ended at the start of a day does not hold that day."),
    ("lago-sw-001", "A change goes up or down by the plan's rank and waits as the family's rule table says (C-01, C-23), not by daily price."),
    ("met-010", "The percentage is a charge on the usage of the whole month, and such a charge is shared by days (C-06)."),
    ("myop-001", "A change in mid-month makes slices by day instead of rating the whole month again (C-04)."),
    ("om-003", "The first month is shared by whole days, eleven here, and not by seconds (C-05)."),
    ("pct-006", "The first month is shared by its days, 16 of 31 here, and not rounded to a half (C-05)."),
    ("ref-003", "Fee and least sum of a refund are figures of the profile, and those of `india` are 5 % and 1,000 (C-13)."),
    ("str-001", "We bill May by the day and in arrears; June is not on that invoice."),
    ("tier-005", "A tier's bound is the inclusive upper bound of usage, not the size of the tier (D10)."),
    ("top-005", "A cap that the customer sets must hold for automatic charges above all."),
    ("trial-009", "What becomes of trial credit at the upgrade is a policy of the profile; the default forfeits it too (C-21)."),
    ("tw-004", "The article's newer text gives each plan its days; the older one charged whole months (C-04)."),
    ("wal-013", "Whether credit that does not suffice blocks or leaves an invoice is how the account settles, and ours may be overdrawn (D8)."),
    ("wal-025", "Promotional credit is spent as usage arrives and before paid credit, not once a month (C-14)."),
];

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

    assert!(failures.is_empty(), "{} vectors fail:\n{}", failures.len(), failures.join("\n"));
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
    CASES.to_vec()
}

/// A vector whose point none of our functions decides.
fn no_rule_of_ours_yet(_: &Value) {
    panic!("no rule of ours yet");
}

// Reading vectors.

/// All vectors.
fn vectors() -> Vec<Value> {
    serde_json::from_str(include_str!("../data/vectors.json")).unwrap()
}

/// The vector of this id.
fn vector(id: &str) -> Value {
    vectors().into_iter().find(|vector| vector["id"] == id).unwrap()
}

/// The ids of `vectors`.
fn ids<'a>(vectors: &[&'a Value]) -> BTreeSet<&'a str> {
    vectors.iter().map(|vector| text(&vector["id"])).collect()
}

/// Whether a vector binds us.
fn is_ours(vector: &Value) -> bool {
    matches!(text(&vector["ours"]["relation"]), "same" | "equivalent" | "recommended")
}

/// What a panic said.
fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&'static str>().copied();
    panic.downcast_ref::<String>().map(String::as_str).or(literal).unwrap_or("panicked")
}

/// The string in `value`.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

/// The number in `value`.
fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("not a number: {value}"))
}

/// The members of the array in `value`.
fn items(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not an array: {value}"))
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
    let digits = text.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty());
    digits.unwrap().parse().unwrap()
}

/// The minor units of a price such as "29.00 + 5 x 10.00".
fn price(text: &str) -> i64 {
    let component = |part: &str| {
        let (quantity, each) = part.split_once(" x ").unwrap_or(("1", part));
        let quantity = Ratio::whole(quantity.parse().unwrap());
        Money::parse(figure(each), USD).unwrap().scaled(quantity, Rounding::HalfUp).unwrap()
    };
    let sum = |sum: Money, part: Money| sum.plus(part).unwrap();
    text.split(" + ").map(component).fold(Money::from_minor(0, USD), sum).minor()
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
    text.split(" + ").map(part).fold(Ratio::ZERO, |sum, part| sum.plus(part).unwrap())
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

/// The calendar month that holds the day that `text` begins with.
fn month_around(text: &str) -> Period {
    Period::month_of(day(text)).unwrap()
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
    DateTime::parse_from_rfc3339(&format!("{minute}{seconds}{rest}")).unwrap().with_timezone(&Utc)
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
    let tiers = vec![Tier { up_to_micros: None, rate_bps: u32::try_from(bps(rate)).unwrap() }];
    terms(rank, Charge::Percent { tiers, minimum_minor: money(minimum), maximum_minor: None })
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
        paid_elsewhere: false,
        start_day: i32::try_from(*start_day).unwrap(),
        end_day: i32::try_from(end_day).unwrap(),
    };
    let spans: Vec<Span> = starts.iter().zip(ends).map(span).collect();
    let used: Vec<Used> = used.iter().map(|micros| Used { root: ROOT, day: 0, micros: *micros }).collect();
    rate(&spans, &used, plans, u32::try_from(days).unwrap()).unwrap()
}

/// Days and minor units of each of several flat plans in a month, given by start and price; a plan
/// that owns no day has neither.
fn flat_month(days: i64, starts: &[(i64, i64)], end: i64) -> Vec<(i64, i64)> {
    let plans: Vec<Terms> = starts.iter().map(|(_, price)| flat(*price)).collect();
    let order: Vec<(i64, usize)> = starts.iter().enumerate().map(|(plan, (day, _))| (*day, plan)).collect();
    let lines = rated(days, &plans, &order, end, &[]);
    let of = |plan: usize| {
        let own = lines.iter().filter(|line| line.terms == plan);
        own.fold((0, 0), |(days, minor), line| (days + i64::from(line.days), minor + line.minor))
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
    Money::from_minor(minor, USD).scaled(factor, Rounding::HalfUp).unwrap().minor()
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
        let active = Period::new(start.max(whole.start()), end.min(whole.end())).map_or(0, Period::days);
        sum.plus(Ratio::new(i128::from(active), i128::from(whole.days()))).unwrap()
    })
}

/// The months of an interval.
fn months_of(interval: &str) -> u32 {
    match interval {
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

/// A change of plan: the length of the period, the day of the change counted from its first, both
/// prices in minor units.
struct Change {
    days: i64,
    on: i64,
    old: i64,
    new: i64,
}

impl Change {
    /// A change within `period`.
    fn within(period: Period, on: NaiveDate, old: i64, new: i64) -> Self {
        Self { days: period.days(), on: index(period, on), old, new }
    }

    /// The change of a vector that names period, day and prices in full.
    fn read(given: &Value) -> Self {
        let on = day(text(&given["change"]));
        Self::within(period(text(&given["period"])), on, money(&given["old"]), money(&given["new"]))
    }

    /// A change after half of a month.
    fn half_way(old: i64, new: i64) -> Self {
        Self { days: 30, on: 15, old, new }
    }

    /// Our lines for the old plan and the new one: days and minor units.
    fn lines(&self) -> Vec<(i64, i64)> {
        flat_month(self.days, &[(-1, self.old), (self.on, self.new)], self.days)
    }

    /// Our two slices, which it checks against a net of credit and charge.
    fn check_net(&self, net: i64) -> [i64; 2] {
        let lines = self.lines();
        assert_eq!(sum(&lines), self.old + net);
        [lines[0].1, lines[1].1]
    }

    /// Checks our slices against a credit (zero or less), a charge and their net.
    fn check(&self, credit: i64, charge: i64, net: i64) {
        assert_eq!(self.check_net(net), [self.old + credit, charge]);
    }

    /// Checks our slices against credits and charges in one list, and their net.
    fn check_lines(&self, lines: &Value, net: i64) {
        let (charges, credits): (Vec<i64>, Vec<i64>) = moneys(lines).into_iter().partition(|line| 0 < *line);
        self.check(credits.iter().sum(), charges.iter().sum(), net);
    }
}

// Changes of plan, pro-rated by day.

fn a_change_in_the_middle(v: &Value) {
    let change = Change::half_way(money(&v["given"]["old"]), money(&v["given"]["new"]));
    change.check_lines(&v["expect"]["lines"], money(&v["expect"]["total"]));
}

fn a_downgrade_with_a_net_credit(v: &Value) {
    let (expect, ours) = (&v["expect"], &v["ours"]["expect"]);
    let change = Change::read(&v["given"]);
    change.check(-money(&expect["unused_credit"]), money(&expect["new_charge"]), -money(&expect["net_credit"]));
    let lines = change.lines();
    assert_eq!(lines, [(20, money(&ours["old_20_days"])), (10, money(&ours["new_10_days"]))]);
    assert_eq!((lines[0].1, sum(&lines)), (money(&expect["used"]), money(&ours["total"])));
}

fn a_downgrade_on_the_fifth(v: &Value) {
    let (given, ours) = (&v["given"], &v["ours"]["expect"]);
    let on = day_of(2026, text(&given["change"]));
    let change = Change::within(Period::month_of(on).unwrap(), on, money(&given["old"]), money(&given["new"]));
    let (credit, charge) = (-money(&v["expect"]["credit"]), money(&v["expect"]["charge"]));
    change.check(credit, charge, credit + charge);
    assert_eq!(change.lines(), [(4, money(&ours["old_4_days"])), (26, money(&ours["new_26_days"]))]);
    assert_eq!(sum(&change.lines()), money(&ours["total"]));
}

fn a_downgrade_in_a_month_of_31_days(v: &Value) {
    let (given, expect, ours) = (&v["given"], &v["expect"], &v["ours"]["expect"]);
    let on = text(&given["change"]);
    let change = Change::within(month_around(on), day(on), money(&given["old"]), money(&given["new"]));
    change.check(money(&expect["credit"]), money(&expect["charge"]), money(&expect["net"]));
    assert_eq!(change.lines(), [(14, money(&ours["old_14_days"])), (17, money(&ours["new_17_days"]))]);
    assert_eq!(change.lines()[1].0, number(&expect["days"]));
}

fn a_change_of_quantity(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let (before, after) = text(&given["qty"]).split_once(" -> ").unwrap();
    let of = |quantity: &str| price(&format!("{quantity} x {}", text(&given["unit"])));
    let change = Change::within(month(text(&given["period"])), day(text(&given["change"])), of(before), of(after));
    change.check(money(&expect["credit"]), money(&expect["charge"]), money(&expect["net"]));
}

fn an_add_on_removed(v: &Value) {
    let removed = money(&v["given"]["removed"]);
    let on = text(&v["given"]["change"]);
    let month = month_around(on);
    let charged = flat_month(month.days(), &[(-1, removed)], index(month, day(on)));
    assert_eq!(charged, [(14, money(&v["ours"]["expect"]["charge_14_days"]))]);
    assert_eq!(charged[0].1, removed + money(&v["expect"]["credit"]));
}

fn a_downgrade_with_a_repair(v: &Value) {
    let (given, expect, ours) = (&v["given"], &v["expect"], &v["ours"]["expect"]);
    let on = day(text(&given["change_on"]));
    let change = Change::within(period(text(&given["period"])), on, money(&given["old"]), money(&given["new"]));
    change.check(money(&expect["repair"]), money(&expect["new_charge"]), -money(&expect["account_credit"]));
    assert_eq!(change.lines(), [(6, money(&ours["old_6_days"])), (25, money(&ours["new_25_days"]))]);
    assert_eq!(sum(&change.lines()), money(&ours["total"]));
}

/// Checks that fees less credit notes, tax included, are what our lines come to with theirs.
fn check_credit_notes(v: &Value, lines: &[(i64, i64)]) {
    let (rate, expect) = (&v["given"]["tax"], &v["expect"]);
    let theirs = with_tax(money(&expect["fees"]), rate) - money(&expect["credit_notes_incl_tax"]);
    assert_eq!(with_tax(sum(lines), rate), theirs);
}

fn three_plans_in_a_week_of_a_calendar_month(v: &Value) {
    let (given, ours) = (&v["given"], &v["ours"]["expect"]);
    let month = month_around(text(&given["start"]));
    let start = |at: &str, plan: &str| (index(month, day(text(&given[at]))), money(&given[plan]));
    let starts = [start("start", "plan1"), start("change1", "plan2"), start("change2", "plan3")];
    let lines = flat_month(month.days(), &starts, month.days());
    let slices: Vec<_> = items(&ours["slices"]).iter().map(|it| (number(&it["days"]), money(&it["amount"]))).collect();
    assert_eq!(lines, slices);
    assert_eq!((sum(&lines), sum(&lines)), (money(&ours["total"]), money(&v["expect"]["net_before_tax"])));
    check_credit_notes(v, &lines);
}

fn three_plans_in_a_week_of_an_anchored_month(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let period = cycle(day(text(&given["start"])), 1, 0);
    let on = |change: usize| index(period, day(text(&given["changes"][change])));
    let starts = [(0, money(&given["plan1"])), (on(0), money(&given["plan2"])), (on(1), money(&given["plan3"]))];
    let lines = flat_month(period.days(), &starts, period.days());
    let last = moneys(&expect["fees"])[2];
    assert_eq!((lines[1], lines[2]), ((0, 0), (number(&expect["days_left"]), last)));
    check_credit_notes(v, &lines);
}

fn a_change_on_the_first_day(v: &Value) {
    let (expect, ours) = (&v["expect"], &v["ours"]["expect"]);
    let change = Change::read(&v["given"]);
    change.check(money(&expect["credit"]), money(&expect["charge"]), money(&expect["net"]));
    assert_eq!(change.lines(), [(0, money(&ours["old"])), (change.days, money(&ours["new"]))]);
}

fn a_change_on_the_last_day(v: &Value) {
    let expect = &v["expect"];
    let change = Change::read(&v["given"]);
    change.check(money(&expect["credit"]), money(&expect["charge"]), money(&expect["net"]));
    let factor = Ratio::new(i128::from(change.lines()[1].0), i128::from(change.days));
    assert_eq!(factor, ratio(text(&expect["factor"])));
}

fn components_changed_added_and_removed(v: &Value) {
    let given = &v["given"];
    let (before, after) = text(&given["changed"]).split_once(" -> ").unwrap();
    let (old, new) = (price(before) + money(&given["removed"]), price(after) + money(&given["added"]));
    Change::half_way(old, new).check_net(money(&v["expect"]["net"]));
}

fn seats_changed_in_the_middle(v: &Value) {
    let expect = &v["expect"];
    let change = Change::half_way(money(&v["given"]["old"]), money(&v["given"]["new"]));
    change.check(money(&expect["credit"]), money(&expect["charge"]), money(&expect["net"]));
}

fn a_downgrade_of_two_components(v: &Value) {
    let (expect, ours) = (&v["expect"], &v["ours"]["expect"]);
    let credit = money(&expect["credit_platform"]) + money(&expect["credit_seats"]);
    let charge = money(&expect["charge_platform"]) + money(&expect["charge_seats"]);
    let change = Change::read(&v["given"]);
    change.check(credit, charge, money(&expect["net"]));
    assert_eq!(change.check_net(money(&expect["net"])), [money(&ours["old_slice"]), money(&ours["new_slice"])]);
    assert_eq!(sum(&change.lines()), money(&ours["total"]));
}

/// They round each component apart, we the plan as a whole: one minor unit may lie between.
fn components_rounded_apart(v: &Value) {
    let expect = &v["expect"];
    let change = Change::read(&v["given"]);
    let credit = money(expect.get("credits").unwrap_or(&expect["credit"]));
    let lines = change.lines();
    let near = |ours: i64, theirs: i64| assert!((ours - theirs).abs() <= 1, "{ours} is not about {theirs}");
    near(lines[0].1, change.old + credit);
    near(lines[1].1, money(&expect["charges"]));
    near(sum(&lines), change.old + money(&expect["net"]));
}

fn a_component_that_stays(v: &Value) {
    Change::read(&v["given"]).check_lines(&v["expect"]["lines"], money(&v["expect"]["net"]));
}

/// The prices are those of the vector that their figure 43.87 comes from.
fn down_and_up_again_on_one_day(v: &Value) {
    let expect = &v["expect"];
    let down = Change::read(&vector("met-012")["given"]);
    down.check_net(-money(&expect["balance_after_1"]));

    let plans = [flat(down.old), flat(down.new)];
    let lines = rated(down.days, &plans, &[(-1, 0), (down.on, 1), (down.on, 0)], down.days, &[]);
    assert!(lines.iter().all(|line| line.terms == 0), "the middle plan owns a day");
    let due = lines.iter().map(|line| line.minor).sum::<i64>() - down.old;
    assert_eq!(due, money(&expect["amount_due"]));

    let balance = [lot(1, LotKind::Paid, micros(&expect["balance_after_1"]))];
    assert_eq!(spend(&balance, micros(&expect["applied_credit"])), (vec![micros(&expect["applied_credit"])], 0));
}

/// The change of met-018, which met-019 follows on.
fn third_change(given: &Value) -> Change {
    let on = text(&given["change"]);
    Change::within(month_around(on), day(on), money(&given["old"]), money(&given["new"]))
}

fn a_third_change(v: &Value) {
    third_change(&v["given"]).check_lines(&v["expect"]["lines"], money(&v["expect"]["net"]));
}

fn credit_that_absorbs_a_change_and_a_renewal(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let before = vector(text(&given["after"]));
    let third = third_change(&before["given"]);
    let dearer = price(text(&given["change"]).split_once("-> ").unwrap().1);
    assert_eq!(dearer, money(&expect["next_renewal"]));

    let starts = [(-1, third.old), (third.on, third.new), (third.on, dearer)];
    let lines = flat_month(third.days, &starts, third.days);
    assert_eq!((lines[1], lines[2].1), ((0, 0), moneys(&expect["lines"])[2]));
    assert_eq!(sum(&lines), third.old + money(&before["expect"]["net"]) + money(&expect["net"]));

    let balance = micros(&given["balance"]);
    let (paid, open) = spend(&[lot(1, LotKind::Paid, balance)], micros(&expect["net"]));
    let rest = balance - paid[0];
    assert_eq!((open, rest), (0, micros(&expect["balance_left"])));
    let (_, due) = spend(&[lot(1, LotKind::Paid, rest)], micros(&expect["next_renewal"]));
    assert_eq!(due, micros(&expect["next_due"]));
}

fn capacity_changed_in_the_middle(v: &Value) {
    let change = Change::half_way(money(&v["given"]["old"]), money(&v["given"]["new"]));
    change.check_net(money(&v["expect"]["net"]));
}

fn a_change_in_february(v: &Value) {
    Change::read(&v["given"]).check_net(money(&v["expect"]["net"]));
}

/// Their figures are "about": by the second, in a month that they don't name. Ours are of whole
/// days, so that one day's price may lie between; the wrong figures lie much farther off.
fn a_second_upgrade_soon_after_the_first(v: &Value) {
    let expect = &v["expect"];
    let [first, second, third] = moneys(&v["given"]["plans"])[..] else { panic!("not three plans") };
    let once = flat_month(31, &[(-1, first), (1, second)], 31);
    let twice = flat_month(31, &[(-1, first), (1, second), (2, third)], 31);
    assert_eq!(once[0], twice[0], "the second upgrade changes what the first plan costs");

    // What the second upgrade leaves unused of the plan held; and what then remains of the new price.
    let credit = once[1].1 - twice[1].1;
    let charge = third - credit;
    let day = slice(second, 1, 31);
    let about = |ours: i64, theirs: &str| (ours - money(&expect[theirs])).abs() <= day;
    assert!(about(credit, "right_credit_about") && about(charge, "right_charge_about"));
    assert!(!about(credit, "buggy_credit") && !about(charge, "buggy_charge"));
}

// Months billed in arrears.

fn a_plan_paused(v: &Value) {
    let expect = &v["expect"];
    let active = period(text(&v["given"]["active"]));
    let month = Period::month_of(active.start()).unwrap();
    let lines = flat_month(month.days(), &[(0, money(&v["given"]["monthly"]))], index(month, active.end()));
    assert_eq!(month.days(), number(&expect["days_in_month"]));
    assert_eq!(lines, [(number(&expect["days"]), money(&expect["charge"]))]);
}

fn a_plan_and_an_add_on_changed(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let month = month(text(&given["month"]));
    let active = index(month, day(text(&given["changed_on"])));
    let of = |price: &str| slice(money(&given[price]), active, month.days());
    assert_eq!(of("addon_monthly"), money(&expect["addon"]));
    assert_eq!(of("base_monthly"), money(&expect["base"]));
}

fn a_cancelled_anchored_month(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let anchored = period(text(&given["period"]));
    assert_eq!(cycle(anchored.start(), 1, 0), anchored);
    let end = index(anchored, day(text(&given["cancelled_on"])));
    let lines = flat_month(anchored.days(), &[(0, money(&given["monthly"]))], end);
    assert_eq!(anchored.days(), number(&expect["denominator"]));
    assert_eq!(lines, [(number(&expect["days"]), money(&expect["charge"]))]);
}

fn a_share_of_days(v: &Value) {
    let (active, days) = text(&v["given"]["days"]).split_once('/').unwrap();
    let charged = slice(money(&v["given"]["monthly"]), count(active), count(days));
    assert_eq!(charged, money(&v["expect"]["amount"]));
}

fn an_upgrade_in_arrears(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let month = month(text(&given["month"]));
    let on = day_of(month.start().year(), text(&given["upgrade_on"]));
    let lines = Change::within(month, on, money(&given["old"]), money(&given["new"])).lines();
    let line = |days: &str, minor: &str| (number(&expect[days]), money(&expect[minor]));
    assert_eq!(lines, [line("old_days", "old"), line("new_days", "new")]);
    assert_eq!(sum(&lines), money(&expect["total"]));
}

fn a_split_of_february(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let month = month(text(&given["month"]));
    let on = day_of(month.start().year(), text(&given["change_on"]));
    let lines = Change::within(month, on, money(&given["old"]), money(&given["new"])).lines();
    assert_eq!(lines, [(14, money(&expect["old"])), (14, money(&expect["new"]))]);
    assert_eq!(sum(&lines), money(&expect["total"]));
}

fn a_first_month_with_tax(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let start = text(&given["start"]);
    let month = month_around(start);
    let lines = flat_month(month.days(), &[(index(month, day(start)), money(&given["monthly"]))], month.days());
    assert_eq!(lines[0].0, number(&expect["days"]));
    assert_eq!(with_tax(lines[0].1, &given["tax"]), money(&expect["total"]));
}

fn a_change_after_one_day(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let (days, on) = (count(text(&given["period"])), count(text(&given["change"])));
    let lines = flat_month(days, &[(0, money(&given["old"])), (on, money(&given["new"]))], days);
    assert_eq!(lines, [(1, money(&expect["old"])), (30, money(&expect["new"]))]);
}

fn shares_of_two_prices(v: &Value) {
    let part = |it: &Value| {
        let (each, days) = text(it).split_once(" x ").unwrap();
        let (active, days) = days.split_once('/').unwrap();
        (price(each), count(active), count(days))
    };
    let parts: Vec<_> = items(&v["given"]["amounts"]).iter().map(part).collect();
    let [(first, active, days), (second, rest, _)] = parts[..] else { panic!("not two parts") };
    let lines = flat_month(days, &[(-1, first), (active, second)], days);
    let lines_expected = moneys(&v["expect"]["lines"]);
    assert_eq!(lines, [(active, lines_expected[0]), (rest, lines_expected[1])]);
}

fn a_percentage_above_its_minimum(v: &Value) {
    let given = &v["given"];
    let plan = percent(0, &given["rate"], &given["minimum"]);
    let lines = rated(30, &[plan], &[(-1, 0)], 30, &[micros(&given["usage"])]);
    assert_eq!(lines[0].minor, money(&v["expect"]["charge"]));
}

/// The trial is a free plan; being upgraded it stays one, up to the day counted from its start.
fn a_plan_upgraded_during_its_trial(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let (start, upgraded) = (day(text(&given["start"])), day(text(&given["upgraded"])));
    let month = Period::month_of(start).unwrap();
    let trial_days = u32::try_from(number(&given["trial_days"])).unwrap();
    let trial_end = Period::new(start, month.end()).unwrap().day(trial_days).unwrap();
    assert_eq!(trial_end, day(text(&expect["trial_end"])));

    let plans = [terms(0, Charge::Free), terms(1, Charge::Free), flat(money(&given["monthly"]))];
    let starts = [(index(month, start), 0), (index(month, upgraded), 1), (index(month, trial_end), 2)];
    let lines = rated(month.days(), &plans, &starts, month.days(), &[]);
    let charged: Vec<_> = lines.iter().filter(|line| line.minor != 0).map(|line| (i64::from(line.days), line.minor)).collect();
    assert_eq!(charged, [(number(&expect["days"]), money(&expect["charge"]))]);
}

fn a_share_kept_exact_until_it_is_rounded(v: &Value) {
    let given = &v["given"];
    let days = number(&given["month_days"]);
    let plans = [terms(0, Charge::Free), flat(money(&given["monthly"]))];
    let lines = rated(days, &plans, &[(0, 0), (number(&given["trial_days"]), 1)], days, &[]);
    let share = lines[1].monthly_total.times(i128::from(lines[1].days)).unwrap().over(i128::from(days)).unwrap();
    // Their figure is in cents and has two decimals of its own.
    let hundredths = share.times(100).unwrap().rounded(Rounding::HalfUp);
    assert_eq!(hundredths, i128::from(money(&v["expect"]["charge_cents"])));
    assert_eq!(i128::from(lines[1].minor), share.rounded(Rounding::HalfUp));
}

fn minimums_of_both_slices(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let month = month(text(&given["month"]));
    let plan = |rank: i32, plan: &Value| percent(rank, &plan["rate"], &plan["min"]);
    let plans = [plan(1, &given["old"]), plan(2, &given["new"])];
    let starts = [(-1, 0), (index(month, day(text(&given["upgrade_on"]))), 1)];
    let lines = rated(month.days(), &plans, &starts, month.days(), &[micros(&given["usage_total"])]);
    let whole = |name: &str| Ratio::whole(i128::from(money(&expect[name])));
    assert_eq!([lines[0].monthly_total, lines[1].monthly_total], [whole("old_full_month"), whole("new_full_month")]);
    assert_eq!([lines[0].minor, lines[1].minor], [money(&expect["old_charge"]), money(&expect["new_charge"])]);
    assert_eq!(lines[0].minor + lines[1].minor, money(&expect["total"]));
}

fn usage_of_subaccounts(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let days = month(text(&given["month"])).days();
    let plan = percent(0, &given["rate"], &given["minimum"]);
    let used: Vec<i64> = ["parent", "sub_a", "sub_b"].iter().map(|account| micros(&given["usage"][*account])).collect();
    let lines = rated(days, &[plan], &[(-1, 0)], days, &used);
    assert_eq!(lines.len(), 1);
    assert_eq!((lines[0].base_micros, lines[0].minor), (micros(&expect["base"]), money(&expect["charge"])));
}

fn three_slices_that_tile_a_month(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let month = month(text(&given["month"]));
    let start = |it: &Value| (index(month, day(text(&it["on"]))), money(&it["monthly"]));
    let starts: Vec<_> = items(&given["changes"]).iter().map(start).collect();
    let lines = flat_month(month.days(), &starts, month.days());
    let slices: Vec<_> = items(&expect["slices"]).iter().map(|it| (number(&it["days"]), money(&it["amount"]))).collect();
    assert_eq!(lines, slices);
    assert_eq!(sum(&lines), money(&expect["total"]));
}

fn slices_of_one_price_that_add_up(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let (days, each) = (month(text(&given["month"])).days(), money(&given["monthly_each"]));
    let lengths = numbers(&given["slices_days"]);
    let starts = [(-1, each), (lengths[0], each), (lengths[0] + lengths[1], each)];
    let lines = flat_month(days, &starts, days);
    let (active, minor): (Vec<i64>, Vec<i64>) = lines.iter().copied().unzip();
    assert_eq!((active, minor), (lengths.clone(), moneys(&expect["largest_remainder"])));
    assert_eq!(sum(&lines), money(&expect["sum"]));

    let apart: Vec<i64> = lengths.iter().map(|active| slice(each, *active, days)).collect();
    assert_eq!(apart, moneys(&expect["naive_half_up"]));
    assert_eq!(apart.iter().sum::<i64>(), money(&expect["naive_sum"]));
}

// Cycles, days and zones.

fn days_between_instants_of_a_zone(v: &Value) {
    let days = |case: &Value| {
        let zone = Zone::parse(case["tz"].as_str().unwrap_or("UTC")).unwrap();
        let local_day = |text: &str| {
            // Only cases in UTC have a time of day, so that it can be added to the day's start.
            let clock = text.split_once('T').map_or("00:00", |(_, clock)| clock);
            let clock = NaiveTime::parse_from_str(clock, "%H:%M").unwrap();
            zone.day(zone.start_of(day(text)) + (clock - NaiveTime::MIN))
        };
        Period::new(local_day(text(&case["start"])), local_day(text(&case["end"]))).map_or(0, Period::days)
    };
    let counted: Vec<i64> = items(&v["given"]["cases"]).iter().map(days).collect();
    assert_eq!(counted, numbers(&v["expect"]["days"]));
}

/// The anchor in the month of `text`, on the day of the month that the vector gives.
fn anchor(text: &str, anchor_day: &Value) -> NaiveDate {
    day(text).with_day(u32::try_from(number(anchor_day)).unwrap()).unwrap()
}

fn an_anchor_clamped_to_a_leap_day(v: &Value) {
    let given = &v["given"];
    let from = text(&given["from_"]);
    let anchor = anchor(from, &given["anchor_day"]);
    let months = months_of(text(&given["interval"]));
    let running = cycle(anchor, months, elapsed_cycles(anchor, months, day(from)));
    assert_eq!(running.end(), day(text(&v["expect"]["next"])));
}

fn a_part_of_an_anchored_month(v: &Value) {
    let given = &v["given"];
    let whole = cycle(anchor(text(&given["start"]), &given["anchor_day"]), 1, 0);
    let (start, end) = (day(text(&given["start"])), day(text(&given["end"])));
    let charged = flat_month(whole.days(), &[(index(whole, start), 100_00)], index(whole, end))[0];
    let expected = ratio(text(&v["expect"]["fraction"]));
    assert_eq!(Ratio::new(i128::from(charged.0), i128::from(whole.days())), expected);
    assert_eq!(charged.1, scaled(100_00, expected));
}

/// The vector gives no days: these are seven before a cycle, and 47 after the one that follows it.
fn years_with_and_without_a_leap_day(v: &Value) {
    let months = months_of(text(&v["given"]["interval"]));
    let cycles = cycles_between(day("2010-01-08"), months, day("2011-01-01"), day("2012-02-24"));
    assert_eq!(cycles, ratio(text(&v["expect"]["cycles"])));
}

fn one_stretch_of_three_cycles(v: &Value) {
    let (start, end) = (day(text(&v["given"]["start"])), day(text(&v["given"]["cancelled"])));
    for interval in ["monthly", "quarterly", "annual"] {
        let expected = ratio(text(&v["expect"][interval]));
        assert_eq!(cycles_between(start, months_of(interval), start, end), expected, "{interval}");
    }
}

fn a_boundary_clamped_to_february(v: &Value) {
    let expect = &v["expect"];
    let year = month(text(&v["given"]["month"])).start().year();
    let first = cycle(day_of(year, text(&v["given"]["subscription_at"])), 1, 0);
    let last_index = u32::try_from(first.days() - 1).unwrap();
    assert_eq!(first.end(), day(text(&expect["boundary"])));
    assert_eq!(first.day(last_index), Some(day(text(&expect["last_day_of_previous_period"]))));
}

fn boundaries_after_a_leap_day(v: &Value) {
    let anchor = day(text(&v["given"]["subscription_at"]));
    for (expected, number) in items(&v["expect"]["billing_days"]).iter().zip(1..) {
        assert_eq!(anniversary(anchor, 1, number), Some(day(text(expected))));
    }
}

fn cycles_elapsed_at_clamped_days(v: &Value) {
    let given = &v["given"];
    let (start, months) = (day(text(&given["start"])), months_of(text(&given["interval"])));
    let elapsed = |at: &Value| i64::from(elapsed_cycles(start, months, day(text(at))));
    let counted: Vec<i64> = items(&given["at"]).iter().map(elapsed).collect();
    assert_eq!(counted, numbers(&v["expect"]["elapsed"]));
}

fn cycles_elapsed_of_three_intervals(v: &Value) {
    let elapsed = |case: &Value| {
        let start = text(&case["start"]);
        let anchor = if case["anchor_day"].is_null() { day(start) } else { anchor(start, &case["anchor_day"]) };
        i64::from(elapsed_cycles(anchor, months_of(text(&case["interval"])), day(text(&case["at"]))))
    };
    let counted: Vec<i64> = items(&v["given"]["cases"]).iter().map(elapsed).collect();
    assert_eq!(counted, numbers(&v["expect"]["elapsed"]));
}

fn a_stub_quarter(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let start = text(&given["start"]);
    let anchor = anchor(start, &given["anchor_day"]);
    let end = cycle(anchor, 3, elapsed_cycles(anchor, 3, day(start))).end();
    let factor = cycles_between(anchor, 3, day(start), end);
    assert_eq!([day(start), end], [0, 1].map(|side: usize| day(text(&expect["period"][side]))));
    assert_eq!(factor, ratio(text(&expect["factor"])));
    assert_eq!(scaled(money(&given["plan"]), factor), money(&expect["first_invoice"]));
}

/// Our periods are whole days: the hour of their anchor has no counterpart.
fn a_cycle_that_holds_an_instant(v: &Value) {
    let given = &v["given"];
    let (anchor, at) = (day(text(&given["anchor"])), day(text(&given["at"])));
    let months = months_of(text(&given["interval"]));
    let running = cycle(anchor, months, elapsed_cycles(anchor, months, at));
    assert!(running.contains(at));
    assert_eq!([running.start(), running.end()], [0, 1].map(|side: usize| day(text(&v["expect"]["period"][side]))));
}

fn bills_of_an_anchor_on_the_31st(v: &Value) {
    let bills = items(&v["expect"]["bills"]);
    let bill = |year: i32, number: u32| {
        let anchor = day_of(year, text(&v["given"]["anchor"]));
        anniversary(anchor, 1, number).unwrap().format("%b %d").to_string()
    };
    for (expected, number) in bills.iter().zip(1..) {
        assert!(text(expected).starts_with(&bill(2026, number)), "{expected}");
    }
    assert!(text(&bills[0]).contains("29 in leap"));
    assert_eq!(bill(2028, 1), "Feb 29");
}

fn a_month_in_new_york(v: &Value) {
    let (expect, ours) = (&v["expect"], &v["ours"]["expect"]);
    let (zone, month) = (zone(&v["given"]["tz"]), month(text(&v["given"]["month"])));
    let end = zone.start_of(month.end());
    assert_eq!(zone.start_of(month.start()), instant(text(&expect["from_"])));
    assert_eq!(end, instant(text(&ours["to_exclusive"])));
    assert_eq!(end - TimeDelta::seconds(1), instant(text(&expect["to"])));
}

fn a_month_between_instants(v: &Value) {
    let (zone, month) = (zone(&v["given"]["tz"]), month(text(&v["given"]["month"])));
    let last = month.end().pred_opt().unwrap();
    let expected = [0, 1].map(|side: usize| instant(text(&v["expect"]["period"][side])));
    assert_eq!([zone.start_of(month.start()), zone.end_of(last)], expected);
}

fn usage_of_a_month_in_two_zones(v: &Value) {
    let given = &v["given"];
    let month = month(text(&given["month"]));
    let at = |event: &Value| match text(event) {
        "mid-March 2024" => instant("2024-03-15T12:00Z"),
        exact => instant(exact),
    };
    let counted = |zone: Zone| items(&given["events"]).iter().filter(|event| month_used(zone, at(event)) == month.start()).count();
    let expected = numbers(&v["expect"]["counted"]);
    for (name, expected) in items(&given["tz"]).iter().zip(expected) {
        assert_eq!(i64::try_from(counted(zone(name))), Ok(expected), "{name}");
    }
}

fn usage_around_the_first_of_a_month(v: &Value) {
    let zone = zone(&v["given"]["tz"]);
    let mut per_month: BTreeMap<String, i64> = BTreeMap::new();
    for at in items(&v["given"]["usage_at"]) {
        let month = month_used(zone, instant(text(at))).format("%B").to_string();
        *per_month.entry(month).or_default() += 1;
    }
    let expected = v["expect"]["per_month"].as_object().unwrap();
    let expected: BTreeMap<String, i64> = expected.iter().map(|(month, count)| (month.clone(), number(count))).collect();
    assert_eq!(per_month, expected);
}

// Usage, credits, tax.

/// The values of an event.
fn event(quantity_micros: i64, price_micros: i64) -> Values {
    Values { account: ROOT, category: "sms".to_owned(), used_at: at(0), quantity_micros, price_micros }
}

/// Where the usage of a day is summed, billed in a month given by its first day.
fn sum_key(billing_month: NaiveDate, day: NaiveDate) -> SumKey {
    SumKey { root: ROOT, billing_month, day, category: "sms".to_owned() }
}

fn repeated_events_count_once(v: &Value) {
    let on = day("2026-04-01");
    let mut known: BTreeMap<&str, Values> = BTreeMap::new();
    let mut changes = Changes::default();
    for it in items(&v["given"]["events"]) {
        let (id, values) = (text(&it["id"]), event(number(&it["qty"]) * 1_000_000, 0));
        if usage::arrival(&values, known.get(id)) == Arrival::New {
            changes.note(sum_key(on, on), &values, 1).unwrap();
            known.insert(id, values);
        }
    }
    let counted: i64 = changes.by_day().map(|(_, sum)| sum.quantity_micros).sum();
    assert_eq!(counted, number(&v["expect"]["counted"]) * 1_000_000);
}

/// The month of use is billed and closed: what is corrected joins the next month, by the difference.
fn late_usage_bills_the_difference(v: &Value) {
    let (march, april) = (day("2026-03-01"), day("2026-04-01"));
    let (billed, corrected) = (event(0, micros(&v["given"]["already_billed"])), event(0, micros(&v["given"]["recomputed"])));
    assert_eq!(usage::arrival(&corrected, Some(&billed)), Arrival::Correction);
    let key = || sum_key(usage::billing_month(march, &[march]), march);
    let mut changes = Changes::default();
    changes.note(key(), &billed, -1).unwrap();
    changes.note(key(), &corrected, 1).unwrap();
    let months = changes.by_month().unwrap();
    let delta: Vec<_> = months.iter().map(|((month, ..), sum)| (*month, sum.price_micros)).collect();
    assert_eq!(delta, [(april, micros(&v["expect"]["delta"]))]);
}

fn a_credit_of_a_discounted_bill(v: &Value) {
    let given = &v["given"];
    let credited = credit::creditable(money(&given["unused_list"]), money(&given["billed"]), 0);
    assert_eq!(credited, money(&v["expect"]["credit"]));
}

fn a_discount_before_tax(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let kept = Ratio::new(10_000 - i128::from(bps(&given["discount"])), 10_000);
    let taxable = scaled(money(&given["net"]), kept);
    let total = with_tax(taxable, &given["tax"]);
    assert_eq!(taxable, money(&expect["taxable"]));
    assert_eq!((total - taxable, total), (money(&expect["tax"]), money(&expect["total"])));
}

fn a_repair_after_an_adjustment(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let (on, paid) = (text(&given["change_on"]), money(&given["paid"]));
    let lines = Change::within(month_around(on), day(on), paid, money(&given["new_monthly"])).lines();
    let unused = paid - lines[0].1;
    assert_eq!((unused, lines[1].1), (money(&expect["unused_list_price"]), money(&expect["new_charge"])));
    let repair = credit::creditable(unused, paid, -money(&given["item_adjustment"]));
    assert_eq!(-repair, money(&expect["repair"]));
    assert_eq!(repair - lines[1].1, money(&expect["account_credit"]));
}

fn a_refund_of_what_was_paid(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let split = credit::refundable(money(&given["paid"]), money(&given["used_value"]), money(&given["unused_value"]));
    assert_eq!(split, (money(&expect["refund"]), money(&expect["credit"])));
}

fn credit_notes_capped_by_the_invoice(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let billed = with_tax(money(&given["line_net"]), &given["tax"]);
    let notes: Vec<i64> = moneys(&given["line_net"]).into_iter().map(|net| with_tax(net, &given["tax"])).collect();
    assert_eq!(billed, money(&expect["invoice_total"]));
    assert_eq!(notes.iter().sum::<i64>(), money(&expect["sum_of_credit_notes_per_line"]));
    let credited = notes.iter().fold(0, |credited, note| credited + credit::creditable(*note, billed, credited));
    assert_eq!(credited, billed, "what is credited differs from what was billed");
}

fn credits_capped_by_what_is_left(v: &Value) {
    let credit = |case: &Value| {
        credit::creditable(money(&case["potential"]), money(&case["billed"]), money(&case["prior_credits"]))
    };
    let credits: Vec<i64> = items(&v["given"]["cases"]).iter().map(credit).collect();
    assert_eq!(credits, moneys(&v["expect"]["credit"]));
}

// Wallets and top-ups.

/// This many seconds after the epoch.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

/// A lot that never expires; the greater its id, the younger it is.
fn lot(id: u32, kind: LotKind, micros: i64) -> Lot {
    let created_at = at(i64::from(id));
    Lot { id: Uuid::from_u128(u128::from(id)), kind, remaining_micros: micros, created_at, expires_at: None }
}

/// What each of the lots pays of `micros`, and what none covers.
fn spend(held: &[Lot], micros: i64) -> (Vec<i64>, i64) {
    let mut sorted = held.to_vec();
    sorted.reverse(); // So that their order is the rule's and not the vector's.
    lots::sort(&mut sorted, &ORDER);
    let (payments, left) = lots::consume(&sorted, micros, at(1_000_000));
    let paid = |lot: &Lot| payments.iter().filter(|payment| payment.lot == lot.id).map(|payment| payment.micros).sum();
    (held.iter().map(paid).collect(), left)
}

/// Lots without expiry; what comes first by priority is for us a kind that comes first.
fn lots_pay_in_order(v: &Value) {
    let expect = &v["expect"];
    let given = items(&v["given"]["lots"]).iter().zip(1_u32..);
    let held: Vec<Lot> = given
        .map(|(it, id)| lot(id, if it["priority"] == 2 { LotKind::Paid } else { LotKind::Promo }, micros(&it["amount"])))
        .collect();
    let amounts = |value: &Value| items(value).iter().map(micros).collect::<Vec<i64>>();

    let (paid, left) = spend(&held, micros(&v["given"]["charge"]));

    let remaining: Vec<i64> = held.iter().zip(&paid).map(|(lot, paid)| lot.remaining_micros - paid).collect();
    assert_eq!((left, remaining), (0, amounts(&expect["remaining"])));
    assert!(expect.get("consumed").is_none_or(|consumed| amounts(consumed) == paid), "{paid:?}");
}

fn a_credit_against_a_charge(v: &Value) {
    let given = &v["given"];
    let (_, balance) = spend(&[lot(1, LotKind::Promo, micros(&given["account_credit"]))], micros(&given["charge"]));
    assert_eq!(balance, micros(&v["expect"]["balance"]));
}

fn credits_rounded_to_the_currency(v: &Value) {
    let credits = Amount::from_micros(micros(&v["given"]["paid_credits"]), USD);
    assert_eq!(i64::from(USD.decimals()), number(&v["given"]["currency_decimals"]));
    assert_eq!(credits.rounded(Rounding::HalfUp).minor(), money(&v["expect"]["credited"]));
}

fn credit_then_invoice(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let (paid, left) = spend(&[lot(1, LotKind::Paid, micros(&given["credit_balance"]))], micros(&given["charge"]));
    assert_eq!((paid[0], left), (micros(&expect["credits_used"]), micros(&expect["invoice"])));
}

fn the_earliest_of_very_many_lots(v: &Value) {
    let expect = &v["expect"]["remaining"];
    let (how_many, each) = text(&v["given"]["lots"]).split_once(" lots of ").unwrap();
    let each = count(each) * 1_000_000;
    let earliest = 50_000;
    let (day_after, two_days_after) = (at(1_000_000 + 86_400), at(1_000_000 + 2 * 86_400));
    let held: Vec<Lot> = (0..u32::try_from(count(how_many)).unwrap())
        .map(|id| Lot { expires_at: Some(if id == earliest { day_after } else { two_days_after }), ..lot(id, LotKind::Promo, each) })
        .collect();

    let (paid, left) = spend(&held, micros(&v["given"]["usage"]));

    assert_eq!(left, 0);
    for (lot, paid) in held.iter().zip(paid) {
        let which = if lot.expires_at == Some(day_after) { "earliest" } else { "all_others" };
        assert_eq!(lot.remaining_micros - paid, micros(&expect[which]), "{lot:?}");
    }
}

fn a_lot_that_expires_now(v: &Value) {
    let expiring = Lot { expires_at: Some(at(1_000_000)), ..lot(1, LotKind::Promo, micros(&v["given"]["lot"])) };
    let (paid, left) = spend(&[expiring], 1);
    assert_eq!((paid[0], left), (micros(&v["expect"]["lot_used"]), 1));
}

fn coupon_then_tax_then_credits(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let net = money(&given["subscription"]) + money(&given["charges"]) - money(&given["coupon"]);
    let total = with_tax(net, &given["tax"]);
    assert_eq!((net, total - net), (money(&expect["net"]), money(&expect["tax"])));
    let open = total - credit::creditable(money(&given["credit_note"]), total, 0);
    let open = Money::from_minor(open, USD).amount().unwrap().micros();
    let (_, due) = spend(&[lot(1, LotKind::Paid, micros(&given["prepaid"]))], open);
    assert_eq!(due, micros(&expect["due"]));
}

/// An account that tops up in this mode, with the threshold and the balance that a vector gives.
fn topping_up(given: &Value, mode: Mode) -> Recharge {
    let (threshold, balance) = (micros(&given["threshold"]), micros(&given["balance"]));
    Recharge { mode, threshold, minimum: 0, balance, pending: 0, made: 0, maximum: None, failures: 0 }
}

fn a_threshold_not_crossed(v: &Value) {
    assert!(v["expect"]["top_up"].is_null());
    for mode in [Mode::TopUpTo(200_000_000), Mode::AddAmount(10_000_000)] {
        assert_eq!(recharge::due(&topping_up(&v["given"], mode)), None);
    }
}

fn one_top_up_for_the_whole_gap(v: &Value) {
    let before = topping_up(&v["given"], Mode::AddAmount(micros(&v["given"]["fixed"])));
    let charge = recharge::due(&before).unwrap();
    let after = Recharge { balance: before.balance + charge, ..before };
    assert_eq!((charge, after.balance), (micros(&v["expect"]["top_up"]), micros(&v["expect"]["balance_after"])));
    assert_eq!(recharge::due(&after), None);
}

fn a_target_raised_to_the_minimum(v: &Value) {
    let given = &v["given"];
    let free = topping_up(given, Mode::TopUpTo(micros(&given["target"])));
    let bound = Recharge { minimum: micros(&given["min_top_up"]), ..free };
    assert_eq!(recharge::due(&free), Some(micros(&v["expect"]["gap"])));
    assert_eq!(recharge::due(&bound), Some(micros(&v["expect"]["top_up"])));
}

fn a_top_up_under_way(v: &Value) {
    assert!(v["expect"]["top_up"].is_null());
    for mode in [Mode::TopUpTo(200_000_000), Mode::AddAmount(10_000_000)] {
        let idle = topping_up(&v["given"], mode);
        assert!(recharge::due(&idle).is_some());
        assert_eq!(recharge::due(&Recharge { pending: micros(&v["given"]["pending_top_up"]), ..idle }), None);
    }
}

/// Their limit is a sum, ours a number of recharges.
fn a_monthly_limit(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let free = Recharge { made: 4, maximum: Some(5), ..topping_up(given, Mode::TopUpTo(micros(&given["target"]))) };
    assert_eq!(recharge::due(&free), Some(micros(&expect["top_up_if_not_reached"])));
    assert!(expect["if_reached"].is_null());
    assert_eq!(recharge::due(&Recharge { made: 5, ..free }), None);
}

fn three_failures(v: &Value) {
    let failures = u32::try_from(number(&v["given"]["consecutive_failures"])).unwrap();
    let low = Recharge {
        mode: Mode::TopUpTo(50),
        threshold: 20,
        minimum: 0,
        balance: 0,
        pending: 0,
        made: 0,
        maximum: None,
        failures: failures - 1,
    };
    assert_eq!(recharge::due(&low), Some(50));
    assert_eq!(text(&v["expect"]["auto_top_up"]), "disabled");
    assert_eq!(recharge::due(&Recharge { failures, ..low }), None);
}

fn a_fee_that_crosses_the_threshold(v: &Value) {
    let (given, expect) = (&v["given"], &v["expect"]);
    let granted = micros(&given["granted"]);
    let (paid, left) = spend(&[lot(1, LotKind::Promo, granted)], micros(&given["subscription_fee"]));
    assert_eq!((paid[0], left), (micros(&expect["paid_from_wallet"]), 0));
    let low = Recharge {
        mode: Mode::AddAmount(micros(&given["fixed_paid"])),
        threshold: micros(&given["threshold"]),
        minimum: 0, // The rule ignores limits.
        balance: granted - paid[0],
        pending: 0,
        made: 0,
        maximum: None,
        failures: 0,
    };
    assert_eq!(low.balance, micros(&expect["balance_before_top_up"]));
    assert_eq!(low.balance + recharge::due(&low).unwrap(), micros(&expect["balance_after"]));
}
