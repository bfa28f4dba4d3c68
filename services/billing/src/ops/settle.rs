//! Invoices and settles rated payers: writes invoices, lines, ledger entries and balances in the caller's
//! transaction.

use chassis::PgConnection;
use chrono::{DateTime, Days, NaiveDate, Utc};
use uuid::Uuid;
use values::{Currency, Period};

use super::dun;
use super::rate::Rated;
use super::spend::{self, Bill, Purse, Spending};
use crate::clients::Catalogue;
use crate::domain::invoice::State;
use crate::domain::numbers;
use crate::error::Error;
use crate::store;
use crate::store::dunnings;
use crate::store::invoices::{Batch, Invoice, Line};
use crate::store::ledger::{Entries, Entry, LedgerAccount};

/// Attributes shared by all invoices of a run or of a closing.
pub struct Header<'a> {
    /// The billing run; `None` for a closing.
    pub run_id: Option<Uuid>,
    /// The plan family.
    pub family: &'a str,
    /// The billed period.
    pub period: Period,
    /// The currency.
    pub currency: Currency,
    /// Time of issue and settlement.
    pub issued_at: DateTime<Utc>,
    /// The catalogue, for the policies of profiles.
    pub catalogue: &'a Catalogue,
    /// Ids in `billing.terms`, by index into the terms of the rating.
    pub terms_ids: &'a [i32],
}

/// The number of one invoice in its series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The series.
    pub series_id: i32,
    /// The number in the series, from 1.
    pub number: i64,
}

/// Writes the invoice of each rated payer under its number, and settles it.
///
/// The invoice of an INVOICED account stays open. Any other is paid from the balance at once: from its lots in the
/// order of the profile, and what they do not cover is overdraft (D8, REQ-037).
pub async fn settle(
    db: &mut PgConnection,
    header: &Header<'_>,
    rated: &[(&Rated, Number)],
) -> Result<(), Error> {
    let mut writing = Writing::new(header);
    let prepaid: Vec<Uuid> = rated
        .iter()
        .filter(|(it, _)| !it.invoiced)
        .map(|(it, _)| it.payer)
        .collect();
    let mut purses = spend::purses_of_chunk(db, &prepaid).await?;
    for (it, number) in rated {
        writing.invoice(it, *number, purses.remove(&it.payer).unwrap_or_default())?;
    }
    writing.flush(db).await
}

/// Rows gathered in memory until `flush` writes them.
struct Writing<'a> {
    header: &'a Header<'a>,
    invoices: Batch,
    entries: Entries,
    spending: Spending<'a>,
    /// Open invoices: invoice, root account, due date.
    open: Vec<(Uuid, Uuid, NaiveDate)>,
}

impl<'a> Writing<'a> {
    fn new(header: &'a Header<'a>) -> Self {
        Self {
            header,
            invoices: Batch::new(),
            entries: Entries::new(header.currency.code(), header.issued_at),
            spending: Spending::new(header.catalogue, header.issued_at),
            open: Vec::new(),
        }
    }

    fn invoice(&mut self, rated: &Rated, number: Number, purse: Purse) -> Result<(), Error> {
        let header = self.header;
        let invoice_id = numbers::invoice_id(number.series_id, number.number).uuid();
        let from_balance_minor = if rated.invoiced { 0 } else { rated.total_minor };
        self.invoices.add(&Invoice {
            invoice_id,
            series_id: number.series_id,
            number: number.number,
            root_id: rated.payer,
            family_code: header.family.to_owned(),
            period_start: header.period.start(),
            period_end: header.period.end(),
            run_id: header.run_id,
            currency: header.currency.code().to_owned(),
            total_minor: rated.total_minor,
            from_balance_minor,
            state: if rated.invoiced {
                State::Open
            } else {
                State::Paid
            },
            issued_at: header.issued_at,
            charged_minor: 0,
            credited_minor: 0,
            due_on: None,
        });
        for (line, line_number) in rated.lines.iter().zip(1..) {
            let start_on = day(header.period.start(), line.first_day);
            self.invoices.add_line(
                invoice_id,
                &Line {
                    line_number,
                    terms_id: header
                        .terms_ids
                        .get(line.terms)
                        .copied()
                        .ok_or(Error::Stored("terms"))?,
                    contract_id: line.contract,
                    start_on,
                    end_on: day(start_on, line.days),
                    base_micros: line.base_micros,
                    amount_minor: line.minor,
                },
            );
        }
        if rated.invoiced {
            return self.opened(rated, invoice_id);
        }
        let id = |place| entry_id(invoice_id, place);
        // Rating refuses totals that overflow here.
        let micros = rated
            .total_minor
            .saturating_mul(header.currency.micros_per_minor());
        let bill = Bill {
            root: rated.payer,
            profile: &rated.profile,
            micros,
            to: LedgerAccount::Revenue,
            word: "INVOICE",
            invoice: Some(invoice_id),
        };
        self.spending.pay(&bill, purse, &mut self.entries, id)
    }

    /// Posts the receivable of an open invoice, including its taxes. Invoices paid from credit carry no tax: it was
    /// paid when the credit was bought.
    fn opened(&mut self, rated: &Rated, invoice_id: Uuid) -> Result<(), Error> {
        let profile = self.header.catalogue.profiles.get(&rated.profile);
        let profile = profile.ok_or_else(|| Error::ProfileNotFound(rated.profile.clone()))?;
        let due_on = dun::due_on(profile, self.header.issued_at);
        self.open.push((invoice_id, rated.payer, due_on));
        let per_minor = self.header.currency.micros_per_minor();
        let mut owe = |place, credit, minor: i64| {
            let entry = Entry {
                root_id: rated.payer,
                debit: LedgerAccount::Receivable,
                credit,
                amount_micros: minor.saturating_mul(per_minor),
                lot_id: None,
                invoice_id: Some(invoice_id),
                reason: "INVOICE",
            };
            self.entries.add(entry_id(invoice_id, place), &entry);
        };
        let taxes: i64 = rated.taxes.iter().map(|tax| tax.amount_minor).sum();
        owe(0, LedgerAccount::Revenue, rated.total_minor - taxes);
        for (tax, place) in rated.taxes.iter().zip(1_u16..) {
            owe(place, LedgerAccount::Tax, tax.amount_minor);
        }
        for (tax, number) in rated.taxes.iter().zip(1_i16..) {
            self.invoices.add_tax(invoice_id, number, tax);
        }
        Ok(())
    }

    async fn flush(self, db: &mut PgConnection) -> Result<(), Error> {
        self.invoices.copy(db).await?;
        self.entries.copy(db).await?;
        dunnings::insert(db, &self.open, self.header.issued_at).await?;
        self.spending.flush(db).await
    }
}

/// The id of an invoice's ledger entry: the invoice's id with `place` in the bytes between series and version.
fn entry_id(invoice_id: Uuid, place: u16) -> Uuid {
    let mut id = *invoice_id.as_bytes();
    if let Some(bytes) = id.get_mut(4..6) {
        bytes.copy_from_slice(&place.to_be_bytes());
    }
    Uuid::from_bytes(id)
}

/// The day `days` days after `from`.
fn day(from: NaiveDate, days: u32) -> NaiveDate {
    from.checked_add_days(Days::new(u64::from(days)))
        .unwrap_or(from)
}

/// The number series for documents of a profile: its invoices, or its credit notes by their suffix.
pub async fn series_of(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (profile, suffix): (&str, &str),
    issued_at: DateTime<Utc>,
) -> Result<i32, Error> {
    let known = catalogue
        .profiles
        .get(profile)
        .ok_or_else(|| Error::ProfileNotFound(profile.to_owned()))?;
    let year = numbers::fiscal_year(issued_at, known.zone, known.fiscal_year_start_month);
    let year = i16::try_from(year).map_err(|_| Error::Stored("fiscal year"))?;
    let issuer = format!("{}{suffix}", known.issuer);
    let prefix = if suffix.is_empty() {
        known.number_prefix.clone()
    } else {
        numbers::credit_note_prefix(&known.number_prefix)
    };
    Ok(store::numbers::series(db, (&issuer, &prefix), year).await?)
}
