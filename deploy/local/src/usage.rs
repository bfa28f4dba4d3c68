//! `perdiem usage import`: Twilio's usage records (JSON page or CSV) and our own CSV.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::ValueEnum;
use proto::billing::v1 as pb;
use proto::r#type::v1::Amount as PbAmount;
use serde::Deserialize;
use values::{AccountId, Amount, Currency};

use crate::Failure;
use crate::connect::{Clients, refused, timestamp};
use crate::show::{self, Progress};

/// Events in one message.
const BATCH: usize = 2_000;
/// The columns of our own CSV.
const OWN: [&str; 8] = [
    "event_id",
    "account_sid",
    "category",
    "time",
    "quantity",
    "unit",
    "price",
    "currency_code",
];
/// Twilio categories that are sums of others, each with what it sums: they only check, and never
/// add, or a usage would count twice (D17).
const PARENTS: [(&str, &[&str]); 12] = [
    ("calls", &["calls-inbound", "calls-outbound"]),
    (
        "calls-inbound",
        &[
            "calls-inbound-local",
            "calls-inbound-mobile",
            "calls-inbound-tollfree",
        ],
    ),
    ("sms", &["sms-inbound", "sms-outbound"]),
    (
        "sms-inbound",
        &["sms-inbound-longcode", "sms-inbound-shortcode"],
    ),
    (
        "sms-outbound",
        &["sms-outbound-longcode", "sms-outbound-shortcode"],
    ),
    ("mms", &["mms-inbound", "mms-outbound"]),
    (
        "mms-inbound",
        &["mms-inbound-longcode", "mms-inbound-shortcode"],
    ),
    (
        "mms-outbound",
        &["mms-outbound-longcode", "mms-outbound-shortcode"],
    ),
    (
        "phonenumbers",
        &[
            "phonenumbers-local",
            "phonenumbers-mobile",
            "phonenumbers-tollfree",
        ],
    ),
    ("lookups", &["carrier-lookups", "calleridlookups"]),
    ("recordings", &[]),
    ("totalprice", &[]),
];

/// What happens to lines that do not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnBroken {
    /// Nothing of the file is imported.
    Refuse,
    /// They are told and left out.
    Skip,
}

/// How a file is imported.
#[derive(Debug, Clone)]
pub struct Import {
    /// Who measured.
    pub source: String,
    /// What happens to lines that do not read.
    pub on_broken: OnBroken,
    /// Whether each row holds its account's own usage, and never that of subaccounts.
    pub own_only: bool,
    /// Whether to say nothing on the way.
    pub quiet: bool,
}

/// What became of a file.
#[derive(Debug, Default, Clone)]
pub struct Imported {
    /// Rows read.
    pub rows: usize,
    /// Lines that do not read: the line and why.
    pub broken: Vec<(u64, String)>,
    /// Parent categories that do not add up.
    pub warnings: Vec<String>,
    /// What billing made of the events.
    pub answer: pb::StreamUsageResponse,
}

/// A file as read: events in order, and what is wrong with the rest.
#[derive(Default)]
struct Read {
    events: Vec<pb::UsageEvent>,
    rows: usize,
    broken: Vec<(u64, String)>,
    /// Sums by account, dates and category, for parents to be checked against.
    sums: BTreeMap<(String, String, String), i64>,
}

/// A row of Twilio's usage records.
#[derive(Deserialize)]
struct TwilioRow {
    account_sid: String,
    category: String,
    start_date: String,
    end_date: String,
    usage: String,
    price: String,
    price_unit: String,
    #[serde(default)]
    uri: String,
}

#[derive(Deserialize)]
struct TwilioPage {
    usage_records: Vec<TwilioRow>,
}

/// Imports a file.
pub async fn import(clients: &Clients, file: &Path, how: &Import) -> Result<Imported, Failure> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let read = if text.trim_start().starts_with('{') {
        json(&text, how)?
    } else {
        csv(&text, how)?
    };
    let warnings = parents_that_do_not_add_up(&read.sums);
    let mut imported = Imported {
        rows: read.rows,
        broken: read.broken,
        warnings,
        ..Imported::default()
    };
    if how.on_broken == OnBroken::Refuse && !imported.broken.is_empty() {
        let told: Vec<String> = imported
            .broken
            .iter()
            .take(20)
            .map(|(line, why)| format!("  line {line}: {why}"))
            .collect();
        let count = imported.broken.len();
        return Err(format!("{count} lines do not read, so nothing was imported (--on-broken skip leaves them out)\n{}", told.join("\n")).into());
    }
    imported.answer = send(clients, read.events, how).await?;
    Ok(imported)
}

/// Prints what became of a file.
pub fn print(file: &Path, imported: &Imported) {
    let answer = &imported.answer;
    for (line, why) in &imported.broken {
        show::line(format!("  line {line} left out: {why}"));
    }
    for warning in &imported.warnings {
        show::line(format!("  {warning}"));
    }
    show::line(format!(
        "{}: {} rows, {} new, {} repeated, {} corrected, {} for a later month, {} unbilled, {} refused, {} left out",
        file.display(),
        imported.rows,
        answer.recorded_count,
        answer.repeated_count,
        answer.corrected_count,
        answer.late_count,
        answer.unbilled_count,
        answer.rejected_count,
        imported.broken.len()
    ));
    for account in &answer.unbilled_account_ids {
        let what = "what it used from its closing on is kept unbilled";
        show::line(format!("  {account}: {what}"));
    }
    for rejection in &answer.rejections {
        let (event, account) = (&rejection.event_id, &rejection.account_id);
        show::line(format!(
            "  {event} refused: the data of {account} are erased"
        ));
    }
}

async fn send(
    clients: &Clients,
    events: Vec<pb::UsageEvent>,
    how: &Import,
) -> Result<pb::StreamUsageResponse, Failure> {
    if events.is_empty() {
        return Ok(pb::StreamUsageResponse::default());
    }
    let total = u64::try_from(events.len())?;
    let mut progress = (!how.quiet).then(|| Progress::begin("usage events", total));
    let (sender, receiver) = tokio::sync::mpsc::channel(2);
    let mut billing = clients.billing.clone();
    let answer = billing.stream_usage(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let source = how.source.clone();
    let feed = async {
        for batch in events.chunks(BATCH) {
            let message = pb::StreamUsageRequest {
                source: source.clone(),
                events: batch.to_vec(),
            };
            if sender.send(message).await.is_err() {
                break; // The answer tells why.
            }
            if let Some(progress) = &mut progress {
                progress.more(u64::try_from(batch.len()).unwrap_or(0));
            }
        }
        drop(sender);
    };
    let (answer, ()) = tokio::join!(answer, feed);
    let answer = answer.map_err(refused)?.into_inner();
    if let Some(progress) = progress {
        progress.end();
    }
    Ok(answer)
}

fn json(text: &str, how: &Import) -> Result<Read, Failure> {
    let page: TwilioPage = serde_json::from_str(text)
        .map_err(|error| format!("not a page of usage records: {error}"))?;
    let mut read = Read::default();
    for (row, number) in page.usage_records.iter().zip(1..) {
        read.rows += 1;
        if !how.own_only && !row.uri.contains("IncludeSubaccounts=false") {
            return Err(format!("record {number} may include usage of subaccounts, which would count twice: ask for IncludeSubaccounts=false, or say --own-only if it does not").into());
        }
        read.twilio(number, row);
    }
    Ok(read)
}

#[expect(clippy::too_many_lines, reason = "heads, then lines")]
fn csv(text: &str, how: &Import) -> Result<Read, Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .from_reader(text.as_bytes());
    let heads: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let own = heads == OWN;
    if !own && !how.own_only {
        return Err("rows of a parent account may include usage of subaccounts, which would count twice: say --own-only if they do not".into());
    }
    let place = |name: &str| heads.iter().position(|head| head == name);
    let columns = [
        "account_sid",
        "category",
        "start_date",
        "end_date",
        "usage",
        "price",
        "price_unit",
    ]
    .map(place);
    if !own && columns.iter().any(Option::is_none) {
        return Err(
            "the first line must name the columns of Twilio's usage records, or of our own format"
                .into(),
        );
    }
    let mut read = Read::default();
    for record in reader.records() {
        read.rows += 1;
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                read.broken.push((line, "not a line of CSV".to_owned()));
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        if record.len() != heads.len() {
            read.broken.push((
                line,
                format!("{} columns instead of {}", record.len(), heads.len()),
            ));
            continue;
        }
        let field = |column: Option<usize>| {
            column
                .and_then(|place| record.get(place))
                .unwrap_or_default()
                .to_owned()
        };
        if own {
            read.own(line, &record);
        } else {
            let [
                account_sid,
                category,
                start_date,
                end_date,
                usage,
                price,
                price_unit,
            ] = columns.map(field);
            let row = TwilioRow {
                account_sid,
                category,
                start_date,
                end_date,
                usage,
                price,
                price_unit,
                uri: String::new(),
            };
            read.twilio(line, &row);
        }
    }
    Ok(read)
}

impl Read {
    fn take(&mut self, line: u64, event: Result<pb::UsageEvent, String>) {
        match event {
            Ok(event) => self.events.push(event),
            Err(why) => self.broken.push((line, why)),
        }
    }

    fn twilio(&mut self, line: u64, row: &TwilioRow) {
        let dates = format!("{}/{}", row.start_date, row.end_date);
        let event = twilio_event(row, &dates);
        if let Ok(event) = &event {
            let price = event
                .price
                .as_ref()
                .and_then(|price| Amount::parse(&price.amount, Currency::Usd).ok());
            let key = (row.account_sid.clone(), dates, row.category.clone());
            let sum = self.sums.entry(key).or_default();
            *sum = sum.saturating_add(price.map_or(0, Amount::micros));
        }
        if event.is_ok()
            && PARENTS
                .iter()
                .any(|(parent, _)| *parent == row.category && is_sum(parent))
        {
            return; // It checks its parts and adds nothing.
        }
        self.take(line, event);
    }

    fn own(&mut self, line: u64, record: &csv::StringRecord) {
        let field = |name: &str| {
            OWN.iter()
                .position(|it| *it == name)
                .and_then(|place| record.get(place))
                .unwrap_or_default()
        };
        let event = (|| {
            let time: DateTime<Utc> = field("time")
                .parse()
                .map_err(|_| format!("time: {} is not an RFC 3339 instant", field("time")))?;
            event(
                field("event_id"),
                field("account_sid"),
                field("category"),
                time,
                (field("quantity"), field("price"), field("currency_code")),
            )
        })();
        self.take(line, event);
    }
}

/// Whether a category of Twilio's is always a sum: those without parts in the table are so only as
/// `totalprice`.
fn is_sum(parent: &str) -> bool {
    parent == "totalprice"
        || PARENTS
            .iter()
            .any(|(name, parts)| *name == parent && !parts.is_empty())
}

fn twilio_event(row: &TwilioRow, dates: &str) -> Result<pb::UsageEvent, String> {
    let day = |text: &str| {
        text.parse::<NaiveDate>()
            .map_err(|_| format!("date: {text} is not a day"))
    };
    let start = day(&row.start_date)?;
    if day(&row.end_date)? < start {
        return Err("end_date lies before start_date".to_owned());
    }
    // One record is one event: the same again repeats it, with other values it corrects.
    let id = format!("{}/{}/{dates}", row.account_sid, row.category);
    let time = start.and_time(NaiveTime::MIN).and_utc();
    event(
        &id,
        &row.account_sid,
        &row.category,
        time,
        (&row.usage, &row.price, &row.price_unit.to_uppercase()),
    )
}

fn event(
    id: &str,
    account: &str,
    category: &str,
    time: DateTime<Utc>,
    (quantity, price, currency_code): (&str, &str, &str),
) -> Result<pb::UsageEvent, String> {
    if id.is_empty() || 128 < id.len() {
        return Err("event_id: 1 to 128 characters".to_owned());
    }
    account
        .parse::<AccountId>()
        .map_err(|_| format!("account_sid: {account} is not AC and 32 lower-case hex digits"))?;
    let plain = category
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if category.is_empty() || 64 < category.len() || !plain {
        return Err(format!(
            "category: {category} is not 1 to 64 of a-z, 0-9, '-', '_'"
        ));
    }
    let currency: Currency = currency_code
        .parse()
        .map_err(|_| format!("currency: {currency_code} is not known"))?;
    let decimal = |name: &str, text: &str| {
        Amount::parse(text, currency)
            .map_err(|_| format!("{name}: {text} is not a plain decimal of at most 6 places"))
    };
    decimal("quantity", quantity)?;
    decimal("price", price)?;
    Ok(pb::UsageEvent {
        event_id: id.to_owned(),
        account_id: account.to_owned(),
        category: category.to_owned(),
        usage_time: Some(timestamp(time)),
        quantity: quantity.to_owned(),
        price: Some(PbAmount {
            currency_code: currency_code.to_owned(),
            amount: price.to_owned(),
        }),
        message_text: None,
    })
}

/// Parents in the file whose parts add up to something else, or are not there at all.
fn parents_that_do_not_add_up(sums: &BTreeMap<(String, String, String), i64>) -> Vec<String> {
    let mut warnings = Vec::new();
    for ((account, dates, category), sum) in sums {
        let Some((_, parts)) = PARENTS.iter().find(|(parent, _)| parent == category) else {
            continue;
        };
        let part = |part: &&str| sums.get(&(account.clone(), dates.clone(), (*part).to_owned()));
        let found: Vec<i64> = parts.iter().filter_map(|it| part(it).copied()).collect();
        let total = found
            .iter()
            .fold(0_i64, |sum, part| sum.saturating_add(*part));
        let [says, adds] =
            [*sum, total].map(|micros| format!("{:#}", Amount::from_micros(micros, Currency::Usd)));
        if found.is_empty() && !parts.is_empty() && *sum != 0 {
            warnings.push(format!(
                "{account} {dates}: {category} says {says} and none of its parts are here, so nothing of it was imported"
            ));
        } else if !found.is_empty() && total != *sum {
            warnings.push(format!(
                "{account} {dates}: {category} says {says}, its parts add up to {adds}"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "account_sid,category,start_date,end_date,count,count_unit,usage,usage_unit,price,price_unit\n";
    const SID: &str = "AC00000000000000000000000000000001";

    fn how(own_only: bool) -> Import {
        Import {
            source: "twilio".to_owned(),
            on_broken: OnBroken::Refuse,
            own_only,
            quiet: true,
        }
    }

    #[test]
    fn parents_check_their_parts_and_never_add() {
        let row = |category: &str, price: &str| {
            format!("{SID},{category},2026-04-01,2026-04-01,1,x,1,x,{price},usd\n")
        };
        let text = format!(
            "{HEAD}{}{}{}",
            row("sms", "3.00"),
            row("sms-inbound-longcode", "1.00"),
            row("sms-inbound", "1.50")
        );
        let read = csv(&text, &how(true)).unwrap();
        assert_eq!(
            read.events
                .iter()
                .map(|event| event.category.as_str())
                .collect::<Vec<_>>(),
            ["sms-inbound-longcode"]
        );
        let warnings = parents_that_do_not_add_up(&read.sums);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(
            warnings[1].contains("sms-inbound says 1.50, its parts add up to 1.00"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_parent_without_its_parts_is_told() {
        let text = format!("{HEAD}{SID},calls,2026-04-01,2026-04-01,1,x,1,x,7.00,usd\n");
        let read = csv(&text, &how(true)).unwrap();
        assert!(read.events.is_empty());
        let warnings = parents_that_do_not_add_up(&read.sums);
        assert!(
            warnings[0].contains("calls says 7.00 and none of its parts are here"),
            "{warnings:?}"
        );
    }

    #[test]
    fn rows_that_may_include_subaccounts_are_refused_unless_said_otherwise() {
        assert!(csv(HEAD, &how(false)).is_err());
        assert!(csv(HEAD, &how(true)).is_ok());
        let page = |uri: &str| {
            format!(
                "{{\"usage_records\":[{{\"account_sid\":\"{SID}\",\"category\":\"mms\",\"start_date\":\"2026-04-01\",\"end_date\":\"2026-04-01\",\"usage\":\"1\",\"price\":\"1\",\"price_unit\":\"usd\",\"uri\":\"{uri}\"}}]}}"
            )
        };
        assert!(json(&page("/Records"), &how(false)).is_err());
        assert!(json(&page("/Records?IncludeSubaccounts=false"), &how(false)).is_ok());
    }

    #[test]
    fn broken_lines_are_told_by_number() {
        let text = include_str!("../../../tests/data/sample/broken.csv");
        let read = csv(text, &how(false)).unwrap();
        assert_eq!(
            read.broken
                .iter()
                .map(|(line, _)| *line)
                .collect::<Vec<_>>(),
            [3, 5, 6, 7, 8, 10]
        );
        assert_eq!(read.events.len(), 4);
    }
}
