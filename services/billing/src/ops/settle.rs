//! Rated payers, invoiced and settled: invoices, lines, ledger entries and balances, in the
//! caller's transaction.

use std::collections::HashMap;

use chrono::{DateTime, Days, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::{Currency, Period};

use super::rate::Rated;
use crate::clients::Catalogue;
use crate::domain::{lots, numbers};
use crate::error::Error;
use crate::store::invoices::{Batch, Invoice, Line};
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{self, outbox};

/// An invoice's state when something is still to be paid.
const OPEN: i16 = 1;
/// An invoice's state when nothing is.
const PAID: i16 = 2;

/// What all invoices of a run have in common.
pub struct Header<'a> {
    /// The run.
    pub run_id: Uuid,
    /// The family.
    pub family: &'a str,
    /// The period.
    pub period: Period,
    /// The currency.
    pub currency: Currency,
    /// When they are issued and settled.
    pub issued_at: DateTime<Utc>,
    /// The policies of profiles.
    pub catalogue: &'a Catalogue,
    /// Ids in `billing.terms` by index of terms.
    pub terms_ids: &'a [i32],
}

/// A number of a series, for one invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number {
    /// The series.
    pub series_id: i32,
    /// The number.
    pub number: i64,
}

/// Writes the invoices of `rated`, each with its number, and settles them.
///
/// An INVOICED account's stays open. Any other is paid from the balance at once: from its lots in
/// the order of the profile, and what they do not cover is overdraft (D8, REQ-037).
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
    let mut overdrafts: HashMap<Uuid, i64> = HashMap::new();
    let mut lots: HashMap<Uuid, Vec<lots::Lot>> = HashMap::new();
    // Payers lie side by side: their lots are read as one range.
    if let (Some(low), Some(high)) = (prepaid.iter().min(), prepaid.iter().max()) {
        overdrafts.extend(ledger::lock(db, &prepaid).await?);
        for (root, lot) in ledger::lots(db, (*low, *high)).await? {
            lots.entry(root).or_default().push(lot);
        }
    }
    for (it, number) in rated {
        let own = lots.remove(&it.payer).unwrap_or_default();
        writing.invoice(
            it,
            *number,
            own,
            overdrafts.get(&it.payer).copied().unwrap_or(0),
        )?;
    }
    writing.flush(db).await
}

/// What is gathered before it is written.
struct Writing<'a> {
    header: &'a Header<'a>,
    invoices: Batch,
    entries: Entries,
    spent_roots: Vec<Uuid>,
    spent_lots: Vec<Uuid>,
    spent_micros: Vec<i64>,
    overdrawn_roots: Vec<Uuid>,
    overdrawn_micros: Vec<i64>,
    dry_roots: Vec<Uuid>,
    dry_micros: Vec<i64>,
}

impl<'a> Writing<'a> {
    fn new(header: &'a Header<'a>) -> Self {
        Self {
            header,
            invoices: Batch::new(),
            entries: Entries::new(header.currency.code(), header.issued_at),
            spent_roots: Vec::new(),
            spent_lots: Vec::new(),
            spent_micros: Vec::new(),
            overdrawn_roots: Vec::new(),
            overdrawn_micros: Vec::new(),
            dry_roots: Vec::new(),
            dry_micros: Vec::new(),
        }
    }

    fn invoice(
        &mut self,
        rated: &Rated,
        number: Number,
        own: Vec<lots::Lot>,
        overdraft: i64,
    ) -> Result<(), Error> {
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
            run_id: Some(header.run_id),
            currency: header.currency.code().to_owned(),
            total_minor: rated.total_minor,
            from_balance_minor,
            state: if rated.invoiced { OPEN } else { PAID },
            issued_at: header.issued_at,
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
        // Rating has seen to it that this fits.
        let micros = rated
            .total_minor
            .saturating_mul(header.currency.micros_per_minor());
        if rated.invoiced {
            self.entry(
                invoice_id,
                0,
                rated.payer,
                LedgerAccount::Receivable,
                None,
                micros,
            );
        } else {
            self.pay_from_balance(rated, invoice_id, micros, own, overdraft)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one invoice and what can pay it")]
    fn pay_from_balance(
        &mut self,
        rated: &Rated,
        invoice_id: Uuid,
        micros: i64,
        mut own: Vec<lots::Lot>,
        overdraft: i64,
    ) -> Result<(), Error> {
        let profile = self.header.catalogue.profiles.get(&rated.profile);
        let profile = profile.ok_or_else(|| Error::ProfileNotFound(rated.profile.clone()))?;
        lots::sort(&mut own, &profile.consume_order);
        let before = lots::balance(&own, overdraft, self.header.issued_at);
        let (payments, rest) = lots::consume(&own, micros, self.header.issued_at);
        // Nobody has more lots than two bytes count, or else the last entries meet in one id and
        // the database refuses the account.
        let places = (0..=u16::MAX).chain(std::iter::repeat(u16::MAX));
        let paying = payments.len();
        for (payment, place) in payments.into_iter().zip(places) {
            self.spent_roots.push(rated.payer);
            self.spent_lots.push(payment.lot);
            self.spent_micros.push(payment.micros);
            self.entry(
                invoice_id,
                place,
                rated.payer,
                LedgerAccount::Lot(payment.kind),
                Some(payment.lot),
                payment.micros,
            );
        }
        if 0 < rest {
            self.overdrawn_roots.push(rated.payer);
            self.overdrawn_micros.push(rest);
            self.entry(
                invoice_id,
                u16::try_from(paying).unwrap_or(u16::MAX),
                rated.payer,
                LedgerAccount::Overdraft,
                None,
                rest,
            );
        }
        let after = before.saturating_sub(micros);
        if 0 < before && after <= 0 {
            self.dry_roots.push(rated.payer);
            self.dry_micros.push(after);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of an entry")]
    fn entry(
        &mut self,
        invoice_id: Uuid,
        place: u16,
        root_id: Uuid,
        debit: LedgerAccount,
        lot_id: Option<Uuid>,
        amount_micros: i64,
    ) {
        // The id follows from the invoice's: the bytes between series and version carry its place.
        let mut id = *invoice_id.as_bytes();
        if let Some(bytes) = id.get_mut(4..6) {
            bytes.copy_from_slice(&place.to_be_bytes());
        }
        let entry = Entry {
            root_id,
            debit,
            credit: LedgerAccount::Revenue,
            amount_micros,
            lot_id,
            invoice_id: Some(invoice_id),
            reason: "INVOICE",
        };
        self.entries.add(Uuid::from_bytes(id), &entry);
    }

    async fn flush(self, db: &mut PgConnection) -> Result<(), Error> {
        self.invoices.copy(db).await?;
        self.entries.copy(db).await?;
        if !self.spent_roots.is_empty() {
            ledger::spend(db, &self.spent_roots, &self.spent_lots, &self.spent_micros).await?;
        }
        if !self.overdrawn_roots.is_empty() {
            ledger::overdraw(db, &self.overdrawn_roots, &self.overdrawn_micros).await?;
        }
        if !self.dry_roots.is_empty() {
            outbox::balances_ran_dry(db, &self.dry_roots, &self.dry_micros, self.header.issued_at)
                .await?;
        }
        Ok(())
    }
}

/// The day `days` days after `from`.
fn day(from: NaiveDate, days: u32) -> NaiveDate {
    from.checked_add_days(Days::new(u64::from(days)))
        .unwrap_or(from)
}

/// The series that the invoices of a profile are numbered in.
pub async fn series_of(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    profile: &str,
    issued_at: DateTime<Utc>,
) -> Result<i32, Error> {
    let known = catalogue
        .profiles
        .get(profile)
        .ok_or_else(|| Error::ProfileNotFound(profile.to_owned()))?;
    let year = numbers::fiscal_year(issued_at, known.zone, known.fiscal_year_start_month);
    let year = i16::try_from(year).map_err(|_| Error::Stored("fiscal year"))?;
    Ok(store::numbers::series(db, &known.issuer, year).await?)
}
