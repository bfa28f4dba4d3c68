//! `BillingService.RenderInvoice`

use chassis::wire;
use chrono::{DateTime, NaiveDate, Utc};
use proto::billing::v1 as pb;
use proto::r#type::v1::Money as WireMoney;
use sqlx::PgConnection;
use values::{InvoiceId, Money, Zone};

use super::convert;
use crate::clients::Profile;
use crate::ctx::Ctx;
use crate::domain::figures;
use crate::error::Error;
use crate::ops::collect;
use crate::pdf::{self, Row, Sheet};
use crate::store::invoices::{self, Invoice};
use crate::store::{accounts, closings, collections, recipients, runs};

pub async fn handle(
    ctx: &Ctx,
    request: pb::RenderInvoiceRequest,
) -> Result<pb::RenderInvoiceResponse, Error> {
    let id: InvoiceId = wire::id("invoice_id", &request.invoice_id)?;
    let mut db = ctx.db.acquire().await?;
    let stored = invoices::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))?;
    let invoice = convert::whole_invoice(&mut db, &stored).await?;
    let account = accounts::get(&mut db, stored.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    // As it was when it was issued: whoever sent it, and whom it went to.
    let recipient = recipients::at(&mut db, stored.root_id, stored.issued_at).await?;
    let version = version(&mut db, &stored).await?;
    drop(db);
    let catalogue = ctx.catalogue(&version).await?;
    let profile = collect::profile(&catalogue, &account)?;
    let sheet = sheet(&invoice, stored.issued_at, (profile, &recipient));
    // Setting pages takes milliseconds of one core: not on a thread that serves others.
    let pdf = tokio::task::spawn_blocking(move || pdf::render(&sheet)).await;
    let pdf = pdf
        .ok()
        .flatten()
        .ok_or(Error::Stored("fonts of an invoice"))?;
    Ok(pb::RenderInvoiceResponse { pdf: pdf.into() })
}

/// The catalogue version that an invoice was made under.
async fn version(db: &mut PgConnection, invoice: &Invoice) -> Result<String, Error> {
    if let Some(run) = invoice.run_id {
        let run = runs::get(db, run).await?.ok_or(Error::Stored("run"))?;
        return Ok(run.catalogue_version);
    }
    if let Some(collection) = collections::get(db, invoice.invoice_id).await? {
        return Ok(collection.catalogue_version);
    }
    let closing = closings::get(db, invoice.root_id).await?;
    Ok(closing.ok_or(Error::Stored("closing"))?.catalogue_version)
}

fn sheet(
    invoice: &pb::Invoice,
    issued_at: DateTime<Utc>,
    (profile, recipient): (&Profile, &str),
) -> Sheet {
    let sender = &profile.sender;
    let mut from = vec![sender.name.clone()];
    from.extend(sender.address.lines().map(str::to_owned));
    if !sender.tax_id.is_empty() {
        from.push(format!("Tax ID {}", sender.tax_id));
    }
    // As many and as long as there is room for beside the facts.
    let recipient: Vec<String> = recipient
        .lines()
        .take(10)
        .map(|line| line.chars().take(42).collect())
        .collect();
    Sheet {
        number: invoice.number.clone(),
        sender: from,
        recipient: if recipient.is_empty() {
            vec![format!("Account {}", invoice.account_id)]
        } else {
            recipient
        },
        facts: facts(invoice, issued_at, profile.zone),
        rows: invoice.lines.iter().map(row).collect(),
        totals: totals(invoice),
    }
}

fn facts(invoice: &pb::Invoice, issued_at: DateTime<Utc>, zone: Zone) -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let mut facts = vec![fact("Date", day(zone.day(issued_at)))];
    if !invoice.family_code.is_empty() {
        let period = days(&invoice.period_start_date, &invoice.period_end_date);
        facts.push(fact("Period", period));
    }
    if let Ok(due) = invoice.due_date.parse() {
        facts.push(fact("Due", day(due)));
    }
    let state = match invoice.state() {
        pb::invoice::State::Open => "Open",
        pb::invoice::State::Paid => "Paid",
        pb::invoice::State::Void => "Void",
        pb::invoice::State::Uncollectible => "Written off",
        pb::invoice::State::Unspecified => "",
    };
    facts.push(fact("State", state.to_owned()));
    facts.push(fact("Account", invoice.account_id.clone()));
    facts
}

fn row(line: &pb::InvoiceLine) -> Row {
    let cycle = line.billing_cycle_code.to_lowercase();
    let parts = [
        line.kind_code.to_lowercase(),
        line.plan_code.clone(),
        cycle,
        // A purchase is of one day: the invoice's.
        if line.active_days == 0 {
            String::new()
        } else {
            days(&line.start_date, &line.end_date)
        },
    ];
    let parts: Vec<&str> = parts
        .iter()
        .map(String::as_str)
        .filter(|part| !part.is_empty())
        .collect();
    Row {
        title: parts.join(", "),
        formula: line.explanation.clone(),
        amount: sum(line.amount.as_ref()),
    }
}

fn totals(invoice: &pb::Invoice) -> Vec<(String, String)> {
    let mut totals = Vec::new();
    let mut add = |name: String, money: Option<&WireMoney>| {
        if money.is_some_and(|it| it.amount.bytes().any(|b| (b'1'..=b'9').contains(&b))) {
            totals.push((name, sum(money)));
        }
    };
    for tax in &invoice.taxes {
        let (whole, rest) = (tax.rate_bps / 100, tax.rate_bps % 100);
        let rate = format!("{} {whole}.{rest:02}%", tax.tax_code);
        add(rate, tax.amount.as_ref());
    }
    add("Total".to_owned(), invoice.total.as_ref());
    add(
        "Paid from balance".to_owned(),
        invoice.paid_from_balance.as_ref(),
    );
    add("Paid".to_owned(), invoice.paid_by_charge.as_ref());
    add("Credited".to_owned(), invoice.credited.as_ref());
    totals.push(("Amount due".to_owned(), sum(invoice.amount_due.as_ref())));
    totals
}

/// A sum of ours for people.
fn sum(money: Option<&WireMoney>) -> String {
    let read = money.and_then(|it| {
        let currency = it.currency_code.parse().ok()?;
        Money::parse(&it.amount, currency).ok()
    });
    read.map(figures::shown).unwrap_or_default()
}

/// "15 to 30 April 2026", the last day included, of half-open dates.
fn days(start: &str, end: &str) -> String {
    let read = |text: &str| text.parse::<NaiveDate>().ok();
    let last = read(end).and_then(|end| end.pred_opt());
    match (read(start), last) {
        (Some(first), Some(last)) if first == last => day(first),
        (Some(first), Some(last)) => format!("{} to {}", day(first), day(last)),
        _ => String::new(),
    }
}

fn day(date: NaiveDate) -> String {
    date.format("%-d %B %Y").to_string()
}
