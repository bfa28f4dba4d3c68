//! Writes the sample input of the demo and the tests: accounts, plan changes and usage of April 2026.
//!
//! `sample [folder]` (default `tests/data/sample`). The same source always writes the same bytes: random
//! numbers come from a fixed seed, and all arithmetic is on integers. Prices are counted in hundred-thousandths
//! of a US dollar ("ticks" below), the five decimals that Twilio prints.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

/// The number that fixes all others; another seed is another sample.
const SEED: u64 = 0x7065_7264_6965_6d32;

/// Ticks in one US dollar.
const DOLLAR: u64 = 100_000;

/// The folder written to when none is given.
const DEFAULT_FOLDER: &str = "tests/data/sample";

/// Days in April.
const DAYS: u64 = 30;

/// Root accounts in the sample.
const ROOTS: u64 = 200;

/// Root accounts that have subaccounts, the one of the edge cases among them.
const ROOTS_WITH_SUBACCOUNTS: u64 = 40;

/// Ordinary root accounts whose plan changes in mid-month.
const CHANGING_ROOTS: u64 = 60;

/// The start of the month, when the plans of most accounts begin.
const FIRST_OF_APRIL: &str = "2026-04-01T00:00:00Z";

/// The instants at which plans change, few enough that a clock can be stepped through them.
const CHANGE_TIMES: [&str; 12] = [
    "2026-04-03T14:30:00Z",
    "2026-04-07T09:15:00Z",
    "2026-04-10T11:00:00Z",
    "2026-04-13T16:45:00Z",
    "2026-04-15T09:00:00Z",
    "2026-04-15T10:00:00Z",
    "2026-04-15T17:00:00Z",
    "2026-04-18T23:59:59Z",
    "2026-04-21T12:05:00Z",
    "2026-04-24T08:20:00Z",
    "2026-04-28T13:05:00Z",
    "2026-04-30T23:59:00Z",
];

/// The accounts whose invoices are known to the cent, with their usage of April in dollars.
const STORIES: [(&str, u64); 5] = [
    ("Upgrade On The Fifteenth", 40_000),
    ("Same Day Change", 40_000),
    ("Contract Payer", 10_000),
    ("Contract Member Two", 15_000),
    ("Contract Member Three", 10_000),
];

/// Plan changes of the stories: position in `STORIES`, time, plan.
const STORY_CHANGES: [(usize, &str, &str); 4] = [
    (0, FIRST_OF_APRIL, "production"),
    (0, "2026-04-15T10:00:00Z", "business"),
    (1, "2026-04-15T09:00:00Z", "business"),
    (1, "2026-04-15T17:00:00Z", "developer"),
];

/// The accounts of the JSON page, with their usage of April in dollars and their plan.
const JSON_ROOTS: [(&str, u64, &str); 2] = [
    ("Json Page Production", 7_500, "production"),
    ("Json Page Business", 30_000, "business"),
];

/// The categories on the JSON page.
const JSON_CATEGORIES: [&str; 3] = [
    "calls-outbound",
    "sms-outbound-longcode",
    "recordingstorage",
];

/// Where the made-up names of ordinary accounts come from: each pair is used once at most.
const FIRST_NAMES: [&str; 16] = [
    "Amber", "Birch", "Cobalt", "Delta", "Ember", "Fjord", "Granite", "Harbour", "Indigo",
    "Juniper", "Kestrel", "Lantern", "Meridian", "Nimbus", "Orchard", "Pebble",
];

/// The second half of those names.
const LAST_NAMES: [&str; 15] = [
    "Airways", "Bakery", "Clinics", "Couriers", "Dental", "Energy", "Games", "Hotels", "Travel",
    "Freight", "Market", "Pharmacy", "Schools", "Tickets", "Water",
];

/// What an account's subaccounts are called, in order.
const SUBACCOUNT_NAMES: [&str; 4] = ["Alerts", "Marketing", "Contact Center", "Sandbox"];

/// A kind of usage as Twilio names and counts it.
struct Category {
    /// A leaf of Twilio's tree: no category of this sample contains another.
    name: &'static str,
    /// The plain words the REST API gives.
    description: &'static str,
    /// What `count` counts.
    count_unit: &'static str,
    /// What `usage` counts, the quantity that is priced.
    usage_unit: &'static str,
    /// Price of one `usage_unit`, in ticks.
    price: u64,
    /// The usual `usage` of one counted event.
    per_event: u64,
    /// Its usual part of an account's bill, against the others.
    weight: u64,
    /// How many accounts of a hundred use it.
    popularity: u64,
}

impl Category {
    /// A category whose events are what is priced: its unit; price, weight, popularity.
    const fn plain(
        name: &'static str,
        description: &'static str,
        unit: &'static str,
        figures: [u64; 3],
    ) -> Self {
        let [price, weight, popularity] = figures;
        Self::timed(
            name,
            description,
            [unit, unit],
            [price, 1, weight, popularity],
        )
    }

    /// A category whose events last: units of count and usage; price, `per_event`, weight, popularity.
    const fn timed(
        name: &'static str,
        description: &'static str,
        units: [&'static str; 2],
        figures: [u64; 4],
    ) -> Self {
        let [count_unit, usage_unit] = units;
        let [price, per_event, weight, popularity] = figures;
        Self {
            name,
            description,
            count_unit,
            usage_unit,
            price,
            per_event,
            weight,
            popularity,
        }
    }
}

/// The categories, in the order of the records of one day. The last is the cheapest, so that it can take
/// what is missing from an exact total; all prices but that of carrier fees are multiples of its price.
#[rustfmt::skip]
const CATEGORIES: [Category; 12] = [
    Category::timed("calls-inbound-local", "Inbound Local Voice Minutes", ["calls", "minutes"], [850, 4, 60, 50]),
    Category::timed("calls-outbound", "Outbound Voice Minutes", ["calls", "minutes"], [1_400, 3, 160, 60]),
    Category::plain("sms-inbound-longcode", "Inbound Long Code SMS", "messages", [750, 60, 60]),
    Category::plain("sms-outbound-longcode", "Outbound Long Code SMS", "messages", [750, 220, 75]),
    Category::plain("sms-messages-carrierfees", "SMS Carrier Fees", "messages", [325, 70, 55]),
    Category::plain("mms-outbound-longcode", "Outbound Long Code MMS", "messages", [2_000, 40, 20]),
    Category::plain("phonenumbers-local", "Local Phone Numbers", "numbers", [115_000, 25, 60]),
    Category::plain("studio-engagements", "Studio Engagements", "engagements", [600, 15, 20]),
    Category::plain("taskrouter-tasks", "TaskRouter Tasks", "tasks", [900, 15, 12]),
    Category::plain("authy-authentications", "Authy Authentications", "authentications", [9_000, 50, 20]),
    Category::plain("carrier-lookups", "Carrier Lookups", "lookups", [500, 12, 22]),
    Category::timed("recordingstorage", "Recording Storage", ["recordings", "minutes"], [50, 5, 8, 22]),
];

/// Usage in our own format with everything that needs care, for an account of which nothing else is known.
/// `ROOT` and `SUB` stand for its account and subaccount.
const EDGE_CASES: &str = "\
event_id,account_sid,category,time,quantity,unit,price,currency_code
edge-01-plain,ROOT,sms-outbound-longcode,2026-04-02T08:15:00Z,1000,messages,7.500000,USD
edge-02-last-microsecond-of-a-day,ROOT,calls-outbound,2026-04-05T23:59:59.999999Z,250,minutes,3.500000,USD
edge-03-negative-correction,ROOT,calls-outbound,2026-04-09T12:00:00Z,-50,minutes,-0.700000,USD
edge-04-late-from-march,ROOT,sms-outbound-longcode,2026-03-30T17:20:00Z,400,messages,3.000000,USD
edge-05-support-is-no-base,ROOT,support,2026-04-01T00:00:00Z,1,months,250.00,USD
edge-06-tax-is-no-base,ROOT,tax,2026-04-30T12:00:00Z,1,charges,19.13,USD
edge-07-sent-twice,ROOT,carrier-lookups,2026-04-12T06:30:00Z,30,lookups,0.150000,USD
edge-07-sent-twice,ROOT,carrier-lookups,2026-04-12T06:30:00Z,30,lookups,0.150000,USD
edge-08-price-corrected,ROOT,phonenumbers-local,2026-04-14T10:00:00Z,4,numbers,4.60,USD
edge-08-price-corrected,ROOT,phonenumbers-local,2026-04-14T10:00:00Z,4,numbers,5.00,USD
edge-09-of-a-subaccount,SUB,studio-engagements,2026-04-20T19:45:10Z,17,engagements,0.102000,USD
edge-10-six-decimals,ROOT,recordingstorage,2026-04-22T03:00:00Z,1,minutes,0.000001,USD
edge-11-april-in-utc,ROOT,sms-inbound-longcode,2026-05-01T01:30:00+02:00,200,messages,1.50,USD
edge-12-free,ROOT,taskrouter-tasks,2026-04-25T11:11:11Z,5,tasks,0,USD
";

/// What of `EDGE_CASES` counts for April: each event once, as last corrected.
const EDGE_TOTAL: &str = "17.052001";

/// Lines that are kept or refused, by number: 2, 4, 9 and 11 are good.
const BROKEN_LINES: &str = "\
event_id,account_sid,category,time,quantity,unit,price,currency_code
broken-02-good,ROOT,sms-outbound-longcode,2026-04-02T08:00:00Z,100,messages,0.750000,USD
broken-03-bad-decimal,ROOT,sms-outbound-longcode,2026-04-02T09:00:00Z,100,messages,0.75x,USD
broken-04-good,ROOT,calls-outbound,2026-04-03T08:00:00Z,10,minutes,0.140000,USD
broken-05-column-missing,ROOT,calls-outbound,2026-04-03T09:00:00Z,10,minutes,0.140000
broken-06-bad-sid,AC12345,calls-outbound,2026-04-03T10:00:00Z,10,minutes,0.140000,USD
broken-07-seven-decimals,ROOT,recordingstorage,2026-04-04T08:00:00Z,1,minutes,0.0000005,USD
broken-08-impossible-date,ROOT,recordingstorage,2026-04-31T08:00:00Z,1,minutes,0.000500,USD
broken-09-good,SUB,recordingstorage,2026-04-30T08:00:00Z,1,minutes,0.000500,USD
broken-10-column-too-many,ROOT,recordingstorage,2026-04-30T09:00:00Z,1,minutes,0.000500,USD,more
broken-11-good,ROOT,phonenumbers-local,2026-04-30T10:00:00Z,1,numbers,1.15,USD
";

/// What the good lines of `BROKEN_LINES` add up to.
const BROKEN_TOTAL: &str = "2.0405";

/// Random numbers by splitmix64.
struct Random(u64);

impl Random {
    /// The numbers of one part of the sample, so that a change to one part leaves the others as they are.
    const fn of_part(part: u64) -> Self {
        Self(SEED ^ (part << 32))
    }

    /// The next 64 bits.
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to `end`, without `end`.
    fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).expect("the upper half of a product of two u64 is a u64")
    }

    /// A number from `low` to `high`, both included.
    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `percent` times of a hundred.
    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of the choices.
    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = self.below(size(choices));
        *choices
            .get(index(place))
            .expect("choices are never empty and the place is below their number")
    }

    /// Exactly `wanted` of the items, or all if there are fewer, in their order.
    fn sample<T: Copy>(&mut self, items: &[T], wanted: u64) -> Vec<T> {
        let mut left = size(items);
        let mut taken = Vec::new();
        for item in items {
            if self.below(left) < wanted - size(&taken) {
                taken.push(*item);
            }
            left -= 1;
        }
        taken
    }

    /// A monthly bill in ticks: each doubling is made by two accounts of three, so a few are very large.
    fn budget(&mut self) -> u64 {
        if self.chance(6) {
            return 0;
        }
        let mut budget = 30 * DOLLAR;
        while budget < 100_000 * DOLLAR && self.chance(66) {
            budget *= 2;
        }
        budget * self.between(100, 199) / 100
    }

    /// An account SID.
    fn sid(&mut self) -> String {
        format!("AC{:016x}{:016x}", self.next(), self.next())
    }
}

/// The number of items.
fn size<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).expect("a usize has 64 bits at most")
}

/// A place in a slice.
fn index(place: u64) -> usize {
    usize::try_from(place).expect("places in this sample are small")
}

/// Where an account's usage is written, and how much it is, in ticks.
#[derive(Clone, Copy, PartialEq)]
enum Usage {
    /// In `usage.csv`, to the cent.
    Exactly(u64),
    /// In `usage.csv`, a little less than this.
    About(u64),
    /// In `usage.json`, to the cent.
    OnJsonPage(u64),
    /// In `edge.csv` and `broken.csv` alone.
    ByHand,
}

/// An account or subaccount.
struct Account {
    /// `AC` and 32 hexadecimal digits.
    sid: String,
    /// The root's SID; none for a root.
    parent_sid: Option<String>,
    /// What people call it.
    name: String,
    /// What it uses in April.
    usage: Usage,
}

/// A root account with its subaccounts.
struct Root {
    /// The account that holds the plan.
    account: Account,
    /// Those that share it.
    subaccounts: Vec<Account>,
}

impl Root {
    /// A root without subaccounts.
    fn new(sids: &mut Random, name: &str, usage: Usage) -> Self {
        Self {
            account: Account {
                sid: sids.sid(),
                parent_sid: None,
                name: name.to_owned(),
                usage,
            },
            subaccounts: Vec::new(),
        }
    }

    /// Opens a subaccount.
    fn add(&mut self, sids: &mut Random, name: &str, usage: Usage) {
        self.subaccounts.push(Account {
            sid: sids.sid(),
            parent_sid: Some(self.account.sid.clone()),
            name: format!("{} {name}", self.account.name),
            usage,
        });
    }

    /// The root and then its subaccounts.
    fn accounts(&self) -> impl Iterator<Item = &Account> {
        std::iter::once(&self.account).chain(&self.subaccounts)
    }

    /// The planned usage of the whole pool in dollars.
    fn dollars(&self) -> u64 {
        let ticks = self.accounts().map(|account| match account.usage {
            Usage::Exactly(ticks) | Usage::About(ticks) | Usage::OnJsonPage(ticks) => ticks,
            Usage::ByHand => 0,
        });
        ticks.sum::<u64>() / DOLLAR
    }
}

/// All root accounts: the stories first, then those of the other files, then the ordinary ones.
fn roots() -> Vec<Root> {
    let mut sids = Random::of_part(1);
    let mut random = Random::of_part(2);
    let mut roots: Vec<Root> = Vec::new();
    for (name, dollars) in STORIES {
        roots.push(Root::new(&mut sids, name, Usage::Exactly(dollars * DOLLAR)));
    }
    for (name, dollars, _) in JSON_ROOTS {
        roots.push(Root::new(
            &mut sids,
            name,
            Usage::OnJsonPage(dollars * DOLLAR),
        ));
    }
    let mut edge = Root::new(&mut sids, "Edge Cases", Usage::ByHand);
    edge.add(&mut sids, "Subaccount", Usage::ByHand);
    roots.push(edge);

    let ordinary: Vec<u64> = (size(&roots)..ROOTS).collect();
    let with_subaccounts = random.sample(&ordinary, ROOTS_WITH_SUBACCOUNTS - 1);
    for place in ordinary {
        let mut root = Root::new(
            &mut sids,
            &ordinary_name(place),
            Usage::About(random.budget()),
        );
        if with_subaccounts.contains(&place) {
            let wanted = random.between(1, size(&SUBACCOUNT_NAMES));
            for name in SUBACCOUNT_NAMES.iter().take(index(wanted)) {
                root.add(&mut sids, name, Usage::About(random.budget()));
            }
        }
        roots.push(root);
    }
    roots
}

/// The name of the ordinary account at a place: 89 shares no factor with the 240 pairs, so none comes twice.
fn ordinary_name(place: u64) -> String {
    let pair = place * 89 % (size(&FIRST_NAMES) * size(&LAST_NAMES));
    let first = FIRST_NAMES
        .get(index(pair % size(&FIRST_NAMES)))
        .expect("a remainder is below its divisor");
    let last = LAST_NAMES
        .get(index(pair / size(&FIRST_NAMES)))
        .expect("a pair is below the number of pairs");
    format!("{first} {last}")
}

/// A plan that an account changes to.
struct PlanChange {
    /// The root account.
    sid: String,
    /// RFC 3339 in UTC, always of one length, so that text order is time order.
    time: &'static str,
    /// A support plan of the catalogue.
    plan: &'static str,
}

/// All plan changes by time; at one time in the order of the accounts.
fn plan_changes(roots: &[Root]) -> Vec<PlanChange> {
    let mut random = Random::of_part(3);
    let mut changes = Vec::new();
    let mut put = |root: &Root, time, plan| {
        let sid = root.account.sid.clone();
        changes.push(PlanChange { sid, time, plan });
    };
    for (story, time, plan) in STORY_CHANGES {
        put(
            roots.get(story).expect("the stories are the first roots"),
            time,
            plan,
        );
    }
    for (root, (_, _, plan)) in roots.iter().skip(STORIES.len()).zip(JSON_ROOTS) {
        put(root, FIRST_OF_APRIL, plan);
    }
    let ordinary: Vec<&Root> = roots
        .iter()
        .skip(STORIES.len() + JSON_ROOTS.len())
        .collect();
    let (edge, ordinary) = ordinary
        .split_first()
        .expect("the account of the edge cases follows those of the page");
    put(edge, FIRST_OF_APRIL, "production");
    let changing = random.sample(&(0..size(ordinary)).collect::<Vec<_>>(), CHANGING_ROOTS);
    for (place, root) in (0..).zip(ordinary) {
        let is_changing = changing.contains(&place);
        let mut plan = first_plan(&mut random, root.dollars());
        if plan != "developer" {
            put(root, FIRST_OF_APRIL, plan);
        }
        let most = if plan == "developer" { 3 } else { 2 };
        let wanted = if is_changing {
            random.between(1, most)
        } else {
            0
        };
        for time in random.sample(&CHANGE_TIMES, wanted) {
            let Some(next) = next_plan(&mut random, plan) else {
                break;
            };
            plan = next;
            put(root, time, plan);
        }
    }
    changes.sort_by_key(|change| change.time);
    changes
}

/// The plan of an ordinary account on the first day: who uses more tends to have the higher one.
fn first_plan(random: &mut Random, dollars: u64) -> &'static str {
    if dollars < 300 {
        random.pick(&[
            "developer",
            "developer",
            "developer",
            "developer",
            "production",
        ])
    } else if dollars < 10_000 {
        random.pick(&["developer", "production", "production", "business"])
    } else {
        random.pick(&["production", "business", "business"])
    }
}

/// The plan after `plan`; none after Personalized, which a customer cannot leave.
fn next_plan(random: &mut Random, plan: &str) -> Option<&'static str> {
    match plan {
        "developer" => Some(random.pick(&["production", "production", "business"])),
        "production" => Some(random.pick(&[
            "developer",
            "business",
            "business",
            "business",
            "personalized",
        ])),
        "business" => Some(random.pick(&["developer", "production", "production", "personalized"])),
        _ => None,
    }
}

/// One day's usage of one category by one account.
struct Record {
    /// Day of April.
    day: u64,
    /// What was used.
    category: &'static Category,
    /// Events, 1 or more.
    count: u64,
    /// Priced quantity, 1 or more.
    usage: u64,
}

impl Record {
    /// The price in ticks.
    const fn price(&self) -> u64 {
        self.usage * self.category.price
    }
}

/// The records of an account's April: a budget in ticks, shared out by category and day.
///
/// What a day's share does not buy is carried to the next day, so that an account without the money for a
/// phone number a day has one every few days. `categories` must not be empty.
fn records(random: &mut Random, budget: u64, categories: &[&'static Category]) -> Vec<Record> {
    let weights: Vec<u64> = categories
        .iter()
        .map(|category| category.weight * random.between(50, 150))
        .collect();
    let days = day_weights(random, budget);
    let (all_weights, all_days) = (weights.iter().sum::<u64>(), days.iter().sum::<u64>().max(1));
    let mut carried = vec![0; categories.len()];
    let mut records = Vec::new();
    for (day, day_weight) in (1..).zip(days) {
        for ((category, weight), carry) in categories.iter().zip(&weights).zip(&mut carried) {
            *carry += budget * weight / all_weights * day_weight / all_days;
            let usage = *carry / category.price;
            if usage == 0 || day_weight == 0 {
                continue;
            }
            *carry -= usage * category.price;
            let per_event_percent = category.per_event * random.between(80, 120);
            let count = if category.per_event == 1 {
                usage
            } else {
                (usage * 100 / per_event_percent).max(1)
            };
            records.push(Record {
                day,
                category,
                count,
                usage,
            });
        }
    }
    records
}

/// How busy each day of April is: weekends are calm, and small accounts are not in use every day.
fn day_weights(random: &mut Random, budget: u64) -> Vec<u64> {
    let quiet_percent = if budget < 2_000 * DOLLAR {
        random.between(20, 75)
    } else {
        0
    };
    let weights = (1..=DAYS).map(|day| {
        let usual = match day % 7 {
            4 => 45, // The 4th of April 2026 is a Saturday.
            5 => 30,
            _ => 100,
        };
        if random.chance(quiet_percent) {
            0
        } else {
            usual * random.between(60, 140)
        }
    });
    weights.collect()
}

/// The records of an account that add up to `total` ticks: the last one takes what is left over.
fn exact_records(random: &mut Random, total: u64, categories: &[&'static Category]) -> Vec<Record> {
    let mut records = records(random, total, categories);
    let rest = total - spent(&records);
    let last = records
        .last_mut()
        .expect("an exact total is large enough for records on each day");
    assert!(
        rest.is_multiple_of(last.category.price),
        "the last category's price divides all the others"
    );
    last.usage += rest / last.category.price;
    last.count = last.usage / last.category.per_event;
    records
}

/// The price of all the records in ticks.
fn spent(records: &[Record]) -> u64 {
    records.iter().map(Record::price).sum()
}

/// The categories an account uses, never none.
fn chosen_categories(random: &mut Random, budget: u64) -> Vec<&'static Category> {
    let more = (budget / DOLLAR)
        .checked_ilog2()
        .map_or(0, |doublings| u64::from(doublings) * 2);
    let mut chosen: Vec<_> = CATEGORIES
        .iter()
        .filter(|category| random.chance(category.popularity + more))
        .collect();
    if chosen.is_empty() {
        chosen.extend(
            CATEGORIES
                .iter()
                .filter(|category| category.name == "sms-outbound-longcode"),
        );
    }
    chosen
}

/// The records of one account that belong in `usage.csv`.
fn csv_records(random: &mut Random, usage: Usage) -> Vec<Record> {
    match usage {
        Usage::Exactly(total) => {
            let cheapest = CATEGORIES.last().expect("there are twelve").price;
            let divisible: Vec<_> = CATEGORIES
                .iter()
                .filter(|it| it.price.is_multiple_of(cheapest))
                .collect();
            exact_records(random, total, &divisible)
        }
        Usage::About(budget) => {
            let categories = chosen_categories(random, budget);
            records(random, budget, &categories)
        }
        Usage::OnJsonPage(_) | Usage::ByHand => Vec::new(),
    }
}

/// The records of one account that belong in `usage.json`.
fn json_records(random: &mut Random, usage: Usage) -> Vec<Record> {
    let Usage::OnJsonPage(total) = usage else {
        return Vec::new();
    };
    let categories: Vec<_> = CATEGORIES
        .iter()
        .filter(|it| JSON_CATEGORIES.contains(&it.name))
        .collect();
    exact_records(random, total, &categories)
}

/// Ticks as a decimal number of dollars with as many places as it needs.
fn dollars(ticks: u64) -> String {
    total_dollars(ticks)
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// A total in ticks, as dollars with five places.
fn total_dollars(ticks: u64) -> String {
    format!("{}.{:05}", ticks / DOLLAR, ticks % DOLLAR)
}

/// A file's text, how many records it holds, and their price in ticks.
struct UsageFile {
    /// The whole file.
    text: String,
    /// Records in it.
    count: u64,
    /// The sum of their prices.
    total: u64,
}

/// `usage.csv`, by account, day and category.
fn usage_csv(roots: &[Root]) -> UsageFile {
    let mut random = Random::of_part(4);
    let head = "account_sid,category,start_date,end_date,count,count_unit,usage,usage_unit,price,price_unit\n";
    let mut file = UsageFile {
        text: head.to_owned(),
        count: 0,
        total: 0,
    };
    for account in roots.iter().flat_map(Root::accounts) {
        let records = csv_records(&mut random, account.usage);
        file.count += size(&records);
        file.total += spent(&records);
        for record in records {
            let Record {
                day,
                category,
                count,
                usage,
            } = record;
            let Category {
                name,
                count_unit,
                usage_unit,
                ..
            } = category;
            let (sid, price) = (&account.sid, dollars(record.price()));
            let date = format!("2026-04-{day:02}");
            let line = format!(
                "{sid},{name},{date},{date},{count},{count_unit},{usage},{usage_unit},{price},usd\n"
            );
            file.text.push_str(&line);
        }
    }
    file
}

/// `usage.json`, one page as the REST API's `Usage/Records/Daily.json` gives it.
fn usage_json(roots: &[Root]) -> UsageFile {
    let mut random = Random::of_part(5);
    let (mut items, mut total, mut first_sid) = (Vec::new(), 0, "");
    for account in roots.iter().flat_map(Root::accounts) {
        let records = json_records(&mut random, account.usage);
        if first_sid.is_empty() && !records.is_empty() {
            first_sid = &account.sid;
        }
        total += spent(&records);
        items.extend(
            records
                .iter()
                .map(|record| json_record(&account.sid, record)),
        );
    }
    let count = size(&items);
    let page = format!(
        "/2010-04-01/Accounts/{first_sid}/Usage/Records/Daily.json\
         ?StartDate=2026-04-01&EndDate=2026-04-30&IncludeSubaccounts=false&PageSize=1000&Page=0"
    );
    let text = format!(
        "{{\n  \"first_page_uri\": \"{page}\",\n  \"end\": {end},\n  \"next_page_uri\": null,\n  \"page\": 0,\n  \
         \"page_size\": 1000,\n  \"previous_page_uri\": null,\n  \"start\": 0,\n  \"uri\": \"{page}\",\n  \
         \"usage_records\": [\n{items}\n  ]\n}}\n",
        end = count - 1,
        items = items.join(",\n"),
    );
    UsageFile { text, count, total }
}

/// One object of `usage_records`.
fn json_record(sid: &str, record: &Record) -> String {
    let Record {
        day,
        category,
        count,
        usage,
    } = record;
    let Category {
        name,
        description,
        count_unit,
        usage_unit,
        ..
    } = category;
    let price = dollars(record.price());
    let date = format!("2026-04-{day:02}");
    let records = format!("/2010-04-01/Accounts/{sid}/Usage/Records");
    let others = [
        ("all_time", "AllTime"),
        ("daily", "Daily"),
        ("last_month", "LastMonth"),
        ("monthly", "Monthly"),
        ("this_month", "ThisMonth"),
        ("today", "Today"),
        ("yearly", "Yearly"),
        ("yesterday", "Yesterday"),
    ];
    let others = others
        .map(|(key, path)| format!("\"{key}\": \"{records}/{path}.json?Category={name}\""))
        .join(", ");
    format!(
        "    {{\"account_sid\": \"{sid}\", \"api_version\": \"2010-04-01\", \"as_of\": \"2026-05-01T04:00:00+00:00\", \
         \"category\": \"{name}\", \"count\": \"{count}\", \"count_unit\": \"{count_unit}\", \
         \"description\": \"{description}\", \"end_date\": \"{date}\", \"price\": \"{price}\", \
         \"price_unit\": \"usd\", \"start_date\": \"{date}\", \"subresource_uris\": {{{others}}}, \
         \"uri\": \"{records}/Daily.json?Category={name}&StartDate={date}&EndDate={date}\", \
         \"usage\": \"{usage}\", \"usage_unit\": \"{usage_unit}\"}}"
    )
}

/// `accounts.csv`: each root, then its subaccounts.
fn accounts_csv(roots: &[Root]) -> String {
    let mut text = "account_sid,parent_account_sid,display_name\n".to_owned();
    for Account {
        sid,
        parent_sid,
        name,
        ..
    } in roots.iter().flat_map(Root::accounts)
    {
        let parent_sid = parent_sid.as_deref().unwrap_or_default();
        writeln!(text, "{sid},{parent_sid},{name}").expect("a String takes any text");
    }
    text
}

/// `plan_changes.csv`.
fn plan_changes_csv(changes: &[PlanChange]) -> String {
    let mut text = "account_sid,time,plan_code\n".to_owned();
    for PlanChange { sid, time, plan } in changes {
        writeln!(text, "{sid},{time},{plan}").expect("a String takes any text");
    }
    text
}

/// `contracts.csv`: the contract of the last three stories, the first of which pays.
fn contracts_csv(roots: &[Root]) -> String {
    let members: Vec<&str> = roots
        .iter()
        .take(STORIES.len())
        .skip(2)
        .map(|root| root.account.sid.as_str())
        .collect();
    let payer = members.first().expect("the contract has three members");
    format!(
        "contract_name,plan_code,start_time,payer_account_sid,member_account_sids\n\
         Sample Contract,business,{FIRST_OF_APRIL},{payer},{}\n",
        members.join(";")
    )
}

/// A text of the edge cases with the SIDs of their accounts in place.
fn by_hand(text: &str, roots: &[Root]) -> String {
    let edge = roots
        .iter()
        .find(|root| root.account.usage == Usage::ByHand)
        .expect("one root is kept for edge cases");
    let subaccount = edge.subaccounts.first().expect("it has one subaccount");
    text.replace("ROOT", &edge.account.sid)
        .replace("SUB", &subaccount.sid)
}

/// `README.md`: what each file is, and the totals that an import must find again.
fn readme(roots: &[Root], changes: &[PlanChange], csv: &UsageFile, json: &UsageFile) -> String {
    let accounts = roots.iter().flat_map(Root::accounts).count();
    let stories = STORIES
        .map(|(name, dollars)| format!("{name} {dollars}.00"))
        .join(", ");
    let pages = JSON_ROOTS
        .map(|(name, dollars, _)| format!("{name} {dollars}.00"))
        .join(", ");
    format!(
        "# Sample\n\n\
         Written by `tests/sample/main.rs`, never by hand; the same source writes the same bytes. April 2026, UTC, USD.\n\n\
         - `accounts.csv`: {accounts} accounts: {ROOTS} roots, {ROOTS_WITH_SUBACCOUNTS} of them with subaccounts. A parent comes before its children.\n\
         - `plan_changes.csv`: {changes} changes by time, on the first of April and at {times} later instants. Who has no line is on Developer or in the contract.\n\
         - `contracts.csv`: one Business contract of three accounts; the payer is also a member.\n\
         - `usage.csv`: Twilio's CSV of daily usage records over {categories} leaf categories. Each row is the account's own usage, without its subaccounts.\n\
         - `usage.json`: a page of Twilio's REST API for two more accounts.\n\
         - `edge.csv`: our own CSV, for the account \"Edge Cases\" alone: a negative correction, a late record of March, support and tax (no base), a duplicate, a correction, a subaccount.\n\
         - `broken.csv`: our own CSV, same account. Line 3 has a bad decimal, 5 and 10 a wrong number of columns, 6 a bad SID, 7 seven decimals, 8 an impossible date; 2, 4, 9 and 11 are good.\n\n\
         ## Control totals\n\n\
         Counted usage of April:\n\n\
         - `usage.csv`: {csv_count} records, {csv_total}; in it {stories}.\n\
         - `usage.json`: {json_count} records, {json_total}: {pages}.\n\
         - `edge.csv`: 14 lines, 12 events, 9 of which count in April: {EDGE_TOTAL} (0.102 of it the subaccount's), and 3.00 of March.\n\
         - `broken.csv`: the four good lines, if kept: {BROKEN_TOTAL}.\n\
         - `usage.csv` and `usage.json` together: {count} records, {total}.\n",
        changes = changes.len(),
        times = CHANGE_TIMES.len(),
        categories = CATEGORIES.len(),
        csv_count = csv.count,
        csv_total = total_dollars(csv.total),
        json_count = json.count,
        json_total = total_dollars(json.total),
        count = csv.count + json.count,
        total = total_dollars(csv.total + json.total),
    )
}

fn main() -> io::Result<()> {
    let folder = env::args_os()
        .nth(1)
        .map_or_else(|| PathBuf::from(DEFAULT_FOLDER), PathBuf::from);
    let roots = roots();
    let changes = plan_changes(&roots);
    let csv = usage_csv(&roots);
    let json = usage_json(&roots);

    fs::create_dir_all(&folder)?;
    fs::write(
        folder.join("README.md"),
        readme(&roots, &changes, &csv, &json),
    )?;
    fs::write(folder.join("accounts.csv"), accounts_csv(&roots))?;
    fs::write(folder.join("plan_changes.csv"), plan_changes_csv(&changes))?;
    fs::write(folder.join("contracts.csv"), contracts_csv(&roots))?;
    fs::write(folder.join("usage.csv"), csv.text)?;
    fs::write(folder.join("usage.json"), json.text)?;
    fs::write(folder.join("edge.csv"), by_hand(EDGE_CASES, &roots))?;
    fs::write(folder.join("broken.csv"), by_hand(BROKEN_LINES, &roots))
}
