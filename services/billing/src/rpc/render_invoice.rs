//! `BillingService.RenderInvoice`

use chassis::{FieldError, PgConnection, field_error, wire};
use chrono::{DateTime, NaiveDate, Utc};
use proto::billing::v1 as pb;
use proto::r#type::v1::Money as WireMoney;
use uuid::Uuid;
use values::{Amount, CreditNoteId, InvoiceId, Money, Rounding, Zone};

use super::particulars::{self, Paper};
use super::{convert, list_credit_notes};
use crate::ctx::Ctx;
use crate::domain::{tax, wording};
use crate::error::Error;
use crate::ops::collect;
use crate::pdf::{self, Row, Sheet};
use crate::store::accounts::Account;
use crate::store::credit_notes::CreditNote;
use crate::store::invoices::{self, Invoice};
use crate::store::recipients::Recipient;
use crate::store::{
    self, accounts, closings, collections, credit_notes, ledger, numbers, recipients, runs,
};

pub async fn handle(
    ctx: &Ctx,
    request: pb::RenderInvoiceRequest,
) -> Result<pb::RenderInvoiceResponse, Error> {
    let id: InvoiceId = wire::id("invoice_id", &request.invoice_id)?;
    let note: Option<CreditNoteId> = wire::optional_id("credit_note_id", &request.credit_note_id)?;
    let mut db = ctx.db.acquire().await?;
    let stored = invoices::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))?;
    drop(db);
    let (invoice, zone) = issued(ctx, &stored).await?;
    let sheet = match note {
        None => invoice_sheet(&invoice, zone),
        Some(id) => {
            let id = id.to_string();
            let mut notes = invoice.credit_notes.iter();
            let note = notes.find(|note| note.credit_note_id == id);
            let expected = "a credit note of the invoice";
            let note = note.ok_or_else(|| field_error("credit_note_id", expected))?;
            note_sheet(&invoice, note, zone)
        }
    };
    // Rendering occupies a core for milliseconds, so it runs on a blocking thread.
    let pdf = tokio::task::spawn_blocking(move || pdf::render(&sheet)).await;
    let pdf = pdf
        .ok()
        .flatten()
        .ok_or(Error::Stored("fonts of an invoice"))?;
    Ok(pb::RenderInvoiceResponse { pdf: pdf.into() })
}

/// What an invoice is shown from, besides the catalogue.
struct Read {
    /// The account that pays.
    account: Account,
    /// The recipient at the time of issue.
    recipient: Recipient,
    /// The credit notes, each with the recipient at its time of issue.
    notes: Vec<(CreditNote, Recipient)>,
    /// The series of their numbers.
    series: Vec<numbers::Series>,
}

/// An invoice with everything that is printed, as it was at the time of issue, and the time zone of its days.
pub async fn issued(ctx: &Ctx, stored: &Invoice) -> Result<(pb::Invoice, Zone), Error> {
    let mut db = ctx.db.acquire().await?;
    let mut invoice = convert::whole_invoice(&mut db, stored).await?;
    invoice.paid_by_overdraft = overdraft(&mut db, stored).await?;
    let read = read(&mut db, stored).await?;
    let version = version(&mut db, stored).await?;
    drop(db);
    let catalogue = ctx.catalogue(&version).await?;
    let profile = collect::profile(&catalogue, &read.account)?;
    let own = catalogue.taxes.get(&profile.sender.country);
    let policy = own.or_else(|| catalogue.taxes.get(""));
    if let Some(policy) = policy {
        for line in &mut invoice.lines {
            let code = policy.line_codes.get(&line.kind_code);
            line.hsn_sac_code = code.cloned().unwrap_or_default();
        }
    }
    let paper = |recipient| Paper {
        profile,
        policy,
        recipient,
    };
    invoice.particulars = Some(paper(&read.recipient).of_invoice(&invoice));
    for (stored, recipient) in &read.notes {
        let mut note = list_credit_notes::shown(stored, &read.series)?;
        note.taxes = credited(stored, &invoice.taxes)?;
        note.invoice_number.clone_from(&invoice.number);
        let mut said = paper(recipient).of_credit_note(&note);
        if stored.tax_minor.is_none() {
            said.taxable_value = None;
        }
        note.particulars = Some(said);
        invoice.credit_notes.push(note);
    }
    Ok((invoice, profile.zone))
}

/// The part of an invoice that was paid by overdraft.
async fn overdraft(db: &mut PgConnection, stored: &Invoice) -> Result<Option<WireMoney>, Error> {
    if stored.from_balance_minor == 0 {
        return Ok(None);
    }
    let of = (stored.root_id, stored.invoice_id);
    let micros = ledger::overdrawn(db, of, stored.issued_at).await?;
    let currency = store::currency(&stored.currency)?;
    let money = Amount::from_micros(micros, currency).rounded(Rounding::HalfUp);
    Ok((0 < money.minor()).then(|| wire::pb_money(money)))
}

async fn read(db: &mut PgConnection, stored: &Invoice) -> Result<Read, Error> {
    let root = stored.root_id;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let recipient = recipient_at(db, root, stored.issued_at).await?;
    let mut notes = Vec::new();
    for note in credit_notes::of_invoice(db, stored.invoice_id).await? {
        let recipient = recipient_at(db, root, note.issued_at).await?;
        notes.push((note, recipient));
    }
    let series: Vec<i32> = notes.iter().map(|(note, _)| note.series_id).collect();
    Ok(Read {
        account,
        recipient,
        notes,
        series: numbers::get_all(db, &series).await?,
    })
}

async fn recipient_at(
    db: &mut PgConnection,
    root: Uuid,
    at: DateTime<Utc>,
) -> Result<Recipient, Error> {
    let found = recipients::at(db, root, at).await?;
    found.ok_or(Error::Stored("account"))
}

/// The taxes of a credit note, in proportion to those of its invoice; empty if its tax was not kept.
fn credited(note: &CreditNote, taxes: &[pb::TaxLine]) -> Result<Vec<pb::TaxLine>, Error> {
    let Some(tax_minor) = note.tax_minor else {
        return Ok(Vec::new());
    };
    let currency = store::currency(&note.currency)?;
    let amounts: Vec<i64> = taxes
        .iter()
        .map(|tax| particulars::money(tax.amount.as_ref()).map_or(0, Money::minor))
        .collect();
    let parts = tax::split(tax_minor, &amounts);
    let credited = taxes.iter().zip(parts).map(|(tax, minor)| pb::TaxLine {
        amount: Some(wire::pb_money(Money::from_minor(minor, currency))),
        ..tax.clone()
    });
    Ok(credited.collect())
}

/// The catalogue version an invoice was issued under.
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

fn invoice_sheet(invoice: &pb::Invoice, zone: Zone) -> Sheet {
    let said = invoice.particulars.clone().unwrap_or_default();
    Sheet {
        title: said.title.clone(),
        number: invoice.number.clone(),
        sender: said.supplier.as_ref().map(lines).unwrap_or_default(),
        recipient: recipient(&said, &invoice.account_id),
        facts: facts(invoice, &said, zone),
        rows: invoice.lines.iter().map(row).collect(),
        totals: totals(invoice, &said),
        notes: notes(&said),
    }
}

fn note_sheet(invoice: &pb::Invoice, note: &pb::CreditNote, zone: Zone) -> Sheet {
    let said = note.particulars.clone().unwrap_or_default();
    let of = format!(
        "Invoice {} of {}",
        invoice.number,
        date(wire::instant("issue_time", invoice.issue_time), zone)
    );
    let net = said.taxable_value.as_ref().or(note.amount.as_ref());
    let mut totals: Vec<(String, String)> = Vec::new();
    if let Some(taxable) = &said.taxable_value {
        totals.push(fact("Taxable value", sum(Some(taxable))));
    }
    totals.extend(note.taxes.iter().map(tax_total));
    totals.push(fact("Total credited", sum(note.amount.as_ref())));
    let mut facts = vec![
        fact(
            "Date",
            date(wire::instant("issue_time", note.issue_time), zone),
        ),
        fact("Invoice", invoice.number.clone()),
        fact(
            "Invoice date",
            date(wire::instant("issue_time", invoice.issue_time), zone),
        ),
    ];
    facts.extend(shared_facts(
        &said,
        &invoice.account_id,
        note.amount.as_ref(),
    ));
    Sheet {
        title: said.title.clone(),
        number: note.number.clone(),
        sender: said.supplier.as_ref().map(lines).unwrap_or_default(),
        recipient: recipient(&said, &invoice.account_id),
        facts,
        rows: vec![Row {
            title: match note.reason.as_str() {
                "" => "Credit".to_owned(),
                reason => format!("Credit: {reason}"),
            },
            formula: of,
            quantity: "1".to_owned(),
            unit_price: sum(net),
            amount: sum(net),
        }],
        totals,
        notes: notes(&said),
    }
}

/// A party, one line each: name, address and tax id.
fn lines(party: &pb::Party) -> Vec<String> {
    let mut lines = vec![party.display_name.clone()];
    lines.extend(party.address_lines.iter().cloned());
    if !party.tax_id.is_empty() {
        lines.push(format!("{} {}", party.tax_id_label, party.tax_id));
    }
    lines
}

fn recipient(said: &pb::Particulars, account_id: &str) -> Vec<String> {
    match &said.recipient {
        Some(party) => lines(party).iter().flat_map(|it| wrapped(it)).collect(),
        None => vec![format!("Account {account_id}")],
    }
}

/// Wraps a recipient line to the width beside the facts, between words, or within a word that is too long.
fn wrapped(line: &str) -> Vec<String> {
    const WIDTH: usize = 42;
    let mut rows = vec![String::new()];
    for word in line.split_whitespace() {
        let chars: Vec<char> = word.chars().collect();
        for piece in chars.chunks(WIDTH) {
            let room = WIDTH.saturating_sub(piece.len() + 1);
            match rows.last_mut() {
                Some(row) if row.is_empty() => row.extend(piece),
                Some(row) if row.chars().count() <= room => {
                    row.push(' ');
                    row.extend(piece);
                }
                Some(_) | None => rows.push(piece.iter().collect()),
            }
        }
    }
    rows
}

fn fact(name: &str, value: String) -> (String, String) {
    (name.to_owned(), value)
}

fn facts(invoice: &pb::Invoice, said: &pb::Particulars, zone: Zone) -> Vec<(String, String)> {
    let mut facts = vec![fact(
        "Date",
        date(wire::instant("issue_time", invoice.issue_time), zone),
    )];
    let (start, end) = (&invoice.period_start_date, &invoice.period_end_date);
    if !invoice.family_code.is_empty() || !is_one_day(start, end) {
        facts.push(fact("Period", days(start, end)));
    }
    facts.push(fact("Terms", said.payment_terms.clone()));
    let state = match invoice.state() {
        pb::invoice::State::Open => "Open",
        pb::invoice::State::Paid => "Paid",
        pb::invoice::State::Void => "Void",
        pb::invoice::State::Uncollectible => "Written off",
        pb::invoice::State::Unspecified => "",
    };
    facts.push(fact("State", state.to_owned()));
    facts.extend(shared_facts(
        said,
        &invoice.account_id,
        invoice.total.as_ref(),
    ));
    facts
}

/// The facts that invoices and credit notes share.
fn shared_facts(
    said: &pb::Particulars,
    account_id: &str,
    total: Option<&WireMoney>,
) -> Vec<(String, String)> {
    let currency = total.map(|it| it.currency_code.clone());
    let mut facts = vec![
        fact("Account", account_id.to_owned()),
        fact("Currency", currency.unwrap_or_default()),
    ];
    if !said.place_of_supply.is_empty() {
        facts.push(fact("Place of supply", said.place_of_supply.clone()));
    }
    facts
}

fn notes(said: &pb::Particulars) -> Vec<String> {
    let mut notes = vec![format!("Total in words: {}", said.total_in_words)];
    notes.push(said.reverse_charge_note.clone());
    notes.push(said.export_statement.clone());
    notes.extend(said.notes.iter().cloned());
    notes.push(said.signature_note.clone());
    notes.retain(|note| !note.is_empty());
    notes
}

fn row(line: &pb::InvoiceLine) -> Row {
    Row {
        title: line.description.clone(),
        formula: match line.hsn_sac_code.as_str() {
            "" => line.explanation.clone(),
            // Codes of services begin with 99.
            code if code.starts_with("99") => format!("SAC {code}: {}", line.explanation),
            code => format!("HSN {code}: {}", line.explanation),
        },
        quantity: line.quantity.clone(),
        unit_price: sum(line.unit_price.as_ref()),
        amount: sum(line.amount.as_ref()),
    }
}

fn totals(invoice: &pb::Invoice, said: &pb::Particulars) -> Vec<(String, String)> {
    let mut totals = Vec::new();
    if !invoice.taxes.is_empty() || !said.place_of_supply.is_empty() {
        totals.push(fact("Taxable value", sum(said.taxable_value.as_ref())));
    }
    totals.extend(invoice.taxes.iter().map(tax_total));
    totals.push(fact("Total", sum(invoice.total.as_ref())));
    let read = |money: &Option<WireMoney>| particulars::money(money.as_ref());
    let overdraft = read(&invoice.paid_by_overdraft);
    let from_credit = read(&invoice.paid_from_balance).map(|paid| {
        let beyond = overdraft.map_or(0, Money::minor);
        Money::from_minor(paid.minor().saturating_sub(beyond), paid.currency())
    });
    for (name, money) in [
        ("Paid from balance", from_credit),
        ("Paid by overdraft", overdraft),
        ("Paid", read(&invoice.paid_by_charge)),
        ("Credited", read(&invoice.credited)),
    ] {
        let some = money.filter(|money| money.minor() != 0);
        totals.extend(some.map(|money| fact(name, values::shown(money))));
    }
    totals.push(fact("Amount due", sum(invoice.amount_due.as_ref())));
    totals
}

fn tax_total(tax: &pb::TaxLine) -> (String, String) {
    let (whole, rest) = (tax.rate_bps / 100, tax.rate_bps % 100);
    let name = format!("{} {whole}.{rest:02}%", tax.tax_code);
    (name, sum(tax.amount.as_ref()))
}

/// Formats an amount for people.
fn sum(money: Option<&WireMoney>) -> String {
    particulars::money(money)
        .map(values::shown)
        .unwrap_or_default()
}

/// Formats the day of an instant.
fn date(at: Result<DateTime<Utc>, FieldError>, zone: Zone) -> String {
    at.map(|at| wording::day(zone.day(at))).unwrap_or_default()
}

/// Formats a half-open period with its last day.
fn days(start: &str, end: &str) -> String {
    let read = |text: &str| text.parse::<NaiveDate>().ok();
    let period = read(start).zip(read(end));
    period
        .map(|(start, end)| wording::days(start, end))
        .unwrap_or_default()
}

/// Whether a half-open period is a single day.
fn is_one_day(start: &str, end: &str) -> bool {
    let read = |text: &str| text.parse::<NaiveDate>().ok();
    read(start) == read(end).and_then(|end| end.pred_opt())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn money(currency: &str, amount: &str) -> WireMoney {
        WireMoney {
            currency_code: currency.to_owned(),
            amount: amount.to_owned(),
        }
    }

    fn utc() -> Zone {
        Zone::parse("UTC").unwrap()
    }

    fn said(sheet: &Sheet) -> String {
        let pdf = pdf::render(sheet).unwrap();
        pdf_extract::extract_text_from_mem(&pdf).unwrap()
    }

    /// An invoice of an Indian supplier to a customer in Karnataka.
    fn invoice() -> pb::Invoice {
        let tax = |code: &str| pb::TaxLine {
            tax_code: code.to_owned(),
            rate_bps: 900,
            amount: Some(money("INR", "900.00")),
        };
        let party = |name: &str, street: &str, id: &str| pb::Party {
            display_name: name.to_owned(),
            address_lines: vec![street.to_owned()],
            tax_id: id.to_owned(),
            tax_id_label: "GSTIN".to_owned(),
        };
        pb::Invoice {
            number: "IN-26-00000105".to_owned(),
            account_id: "AC1".to_owned(),
            period_start_date: "2026-04-15".to_owned(),
            period_end_date: "2026-04-16".to_owned(),
            total: Some(money("INR", "11800.00")),
            amount_due: Some(money("INR", "0.00")),
            paid_by_charge: Some(money("INR", "11800.00")),
            state: pb::invoice::State::Paid.into(),
            issue_time: Some(wire::timestamp("2026-04-15T09:00:00Z".parse().unwrap())),
            lines: vec![pb::InvoiceLine {
                description: "Prepaid credit".to_owned(),
                explanation: "credit = 10000.00".to_owned(),
                hsn_sac_code: "998419".to_owned(),
                quantity: "1".to_owned(),
                unit_price: Some(money("INR", "10000.00")),
                amount: Some(money("INR", "10000.00")),
                ..pb::InvoiceLine::default()
            }],
            taxes: vec![tax("CGST"), tax("SGST")],
            particulars: Some(pb::Particulars {
                title: "Tax invoice".to_owned(),
                supplier: Some(party("Perdiem Pvt. Ltd.", "1 MG Road", "29AAAAA0000A1Z5")),
                recipient: Some(party("Kaveri Tea", "7 Residency Road", "29BBBBB0000B1Z5")),
                place_of_supply: "29 Karnataka".to_owned(),
                reverse_charge_note: "Tax payable on reverse charge: No".to_owned(),
                export_statement: "Supply meant for export".to_owned(),
                signature_note: "It needs no signature.".to_owned(),
                taxable_value: Some(money("INR", "10000.00")),
                total_in_words: "Rupees eleven thousand eight hundred only".to_owned(),
                payment_terms: "Paid at issue".to_owned(),
                notes: Vec::new(),
            }),
            ..pb::Invoice::default()
        }
    }

    #[test]
    fn an_indian_invoice_says_each_field_of_rule_46() {
        let page = said(&invoice_sheet(&invoice(), utc()));
        for field in [
            "Tax invoice",
            "IN-26-00000105",
            "15 April 2026",
            "Perdiem Pvt. Ltd.",
            "1 MG Road",
            "GSTIN 29AAAAA0000A1Z5",
            "Kaveri Tea",
            "7 Residency Road",
            "GSTIN 29BBBBB0000B1Z5",
            "29 Karnataka",
            "INR",
            "Prepaid credit",
            "SAC 998419: credit = 10000.00",
            "Quantity",
            "Unit price",
            "₹10,000.00",
            "Taxable value",
            "CGST 9.00%",
            "SGST 9.00%",
            "₹900.00",
            "₹11,800.00",
            "Rupees eleven thousand eight hundred only",
            "Tax payable on reverse charge: No",
            "Supply meant for export",
            "It needs no signature.",
            "Paid at issue",
        ] {
            assert!(page.contains(field), "{field}: {page}");
        }
    }

    #[test]
    fn a_credit_note_says_each_field_of_rule_53() {
        let invoice = invoice();
        let note = pb::CreditNote {
            number: "INC-26-00000001".to_owned(),
            amount: Some(money("INR", "1180.00")),
            reason: "goodwill".to_owned(),
            issue_time: invoice.issue_time,
            taxes: invoice
                .taxes
                .iter()
                .map(|tax| pb::TaxLine {
                    amount: Some(money("INR", "90.00")),
                    ..tax.clone()
                })
                .collect(),
            particulars: Some(pb::Particulars {
                title: "Credit note".to_owned(),
                taxable_value: Some(money("INR", "1000.00")),
                total_in_words: "Rupees one thousand one hundred eighty only".to_owned(),
                ..invoice.particulars.clone().unwrap()
            }),
            ..pb::CreditNote::default()
        };
        let page = said(&note_sheet(&invoice, &note, utc()));
        for field in [
            "Credit note",
            "INC-26-00000001",
            "Invoice IN-26-00000105 of 15 April 2026",
            "GSTIN 29AAAAA0000A1Z5",
            "GSTIN 29BBBBB0000B1Z5",
            "29 Karnataka",
            "Credit: goodwill",
            "₹1,000.00",
            "CGST 9.00%",
            "₹90.00",
            "Total credited",
            "₹1,180.00",
            "Rupees one thousand one hundred eighty only",
            "It needs no signature.",
        ] {
            assert!(page.contains(field), "{field}: {page}");
        }
    }

    #[test]
    fn an_invoice_paid_by_overdraft_says_so() {
        let invoice = pb::Invoice {
            paid_by_charge: None,
            paid_from_balance: Some(money("USD", "100.00")),
            paid_by_overdraft: Some(money("USD", "40.00")),
            total: Some(money("USD", "100.00")),
            amount_due: Some(money("USD", "0.00")),
            ..invoice()
        };
        let totals: HashMap<_, _> = totals(&invoice, &pb::Particulars::default())
            .into_iter()
            .collect();
        assert_eq!(totals["Paid from balance"], "$60.00");
        assert_eq!(totals["Paid by overdraft"], "$40.00");
        assert_eq!(totals["Amount due"], "$0.00");
    }

    #[test]
    fn a_page_shows_codes_of_lines_and_no_period_of_one_day() {
        for (code, shown) in [
            ("", "credits 5.00"),
            ("998419", "SAC 998419: credits 5.00"),
            ("8517", "HSN 8517: credits 5.00"),
        ] {
            let coded = row(&pb::InvoiceLine {
                hsn_sac_code: code.to_owned(),
                explanation: "credits 5.00".to_owned(),
                ..pb::InvoiceLine::default()
            });
            assert_eq!(coded.formula, shown);
        }
        let period = |end: &str| {
            let invoice = pb::Invoice {
                period_start_date: "2026-04-15".to_owned(),
                period_end_date: end.to_owned(),
                ..pb::Invoice::default()
            };
            let facts = facts(&invoice, &pb::Particulars::default(), utc());
            facts.into_iter().find(|(name, _)| name == "Period")
        };
        let shown = "15 April to 14 July 2026".to_owned();
        assert_eq!(period("2026-07-15"), Some(("Period".to_owned(), shown)));
        assert_eq!(period("2026-04-16"), None);
    }
}
