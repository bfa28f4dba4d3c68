//! `billing.invoices` and `billing.invoice_lines`

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::collections::Tax;
use super::copy::Rows;

/// The state of one of which something is still to be paid.
pub const OPEN: i16 = 1;
/// The state of one of which nothing is left to be paid.
pub const PAID: i16 = 2;

/// An invoice as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invoice {
    /// Its id.
    pub invoice_id: Uuid,
    /// Its series.
    pub series_id: i32,
    /// Its number in the series.
    pub number: i64,
    /// The root account that pays.
    pub root_id: Uuid,
    /// The family.
    pub family_code: String,
    /// The first day of the period.
    pub period_start: NaiveDate,
    /// The day after its last.
    pub period_end: NaiveDate,
    /// The run that made it.
    pub run_id: Option<Uuid>,
    /// The currency.
    pub currency: String,
    /// The sum of its lines and taxes.
    pub total_minor: i64,
    /// What the balance paid.
    pub from_balance_minor: i64,
    /// 1 OPEN, 2 PAID, 3 VOID, 4 UNCOLLECTIBLE.
    pub state: i16,
    /// When it was issued.
    pub issued_at: DateTime<Utc>,
    /// What a charge paid, or money received outside.
    pub charged_minor: i64,
    /// What credit notes have taken back.
    pub credited_minor: i64,
    /// The day it is due; `None` where it was paid when it was issued.
    pub due_on: Option<NaiveDate>,
}

impl Invoice {
    /// What is left to pay of an open one.
    pub const fn due_minor(&self) -> i64 {
        let paid = self.from_balance_minor + self.charged_minor;
        let left = self.total_minor - paid - self.credited_minor;
        if self.state == OPEN && 0 < left {
            left
        } else {
            0
        }
    }
}

/// A line as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place, from 1.
    pub line_number: i16,
    /// The terms it was computed from.
    pub terms_id: i32,
    /// The contract that governs it.
    pub contract_id: Option<Uuid>,
    /// The first of its days.
    pub start_on: NaiveDate,
    /// The day after the last.
    pub end_on: NaiveDate,
    /// The usage that percentages are taken of.
    pub base_micros: i64,
    /// The result.
    pub amount_minor: i64,
}

/// Invoices, lines and taxes to be copied.
pub struct Batch {
    invoices: Rows,
    lines: Rows,
    taxes: Rows,
}

impl Batch {
    /// Nothing yet.
    pub fn new() -> Self {
        let invoices = [
            "invoice_id",
            "series_id",
            "number",
            "root_id",
            "family_code",
            "period_start",
            "period_end",
            "run_id",
            "currency",
            "total_minor",
            "from_balance_minor",
            "state",
            "issued_at",
        ];
        let lines = [
            "invoice_id",
            "line_number",
            "terms_id",
            "contract_id",
            "start_on",
            "end_on",
            "base_micros",
            "amount_minor",
        ];
        let taxes = [
            "invoice_id",
            "line_number",
            "tax_code",
            "rate_bps",
            "amount_minor",
        ];
        Self {
            invoices: Rows::new("billing.invoices", &invoices),
            lines: Rows::new("billing.invoice_lines", &lines),
            taxes: Rows::new("billing.invoice_taxes", &taxes),
        }
    }

    /// Adds an invoice.
    pub fn add(&mut self, invoice: &Invoice) {
        let rows = &mut self.invoices;
        rows.row();
        rows.uuid(invoice.invoice_id);
        rows.integer(invoice.series_id);
        rows.bigint(invoice.number);
        rows.uuid(invoice.root_id);
        rows.text(&invoice.family_code);
        rows.date(invoice.period_start);
        rows.date(invoice.period_end);
        rows.optional_uuid(invoice.run_id);
        rows.text(&invoice.currency);
        rows.bigint(invoice.total_minor);
        rows.bigint(invoice.from_balance_minor);
        rows.smallint(invoice.state);
        rows.timestamptz(invoice.issued_at);
    }

    /// Adds a line of an invoice.
    pub fn add_line(&mut self, invoice_id: Uuid, line: &Line) {
        let rows = &mut self.lines;
        rows.row();
        rows.uuid(invoice_id);
        rows.smallint(line.line_number);
        rows.integer(line.terms_id);
        rows.optional_uuid(line.contract_id);
        rows.date(line.start_on);
        rows.date(line.end_on);
        rows.bigint(line.base_micros);
        rows.bigint(line.amount_minor);
    }

    /// Adds a tax of an invoice.
    pub fn add_tax(&mut self, invoice_id: Uuid, number: i16, tax: &Tax) {
        let rows = &mut self.taxes;
        rows.row();
        rows.uuid(invoice_id);
        rows.smallint(number);
        rows.text(&tax.tax_code);
        rows.bigint(tax.rate_bps);
        rows.bigint(tax.amount_minor);
    }

    /// Copies invoices, then lines and taxes. A second invoice of a payer, family and period is refused
    /// (`invoices_one_a_period`).
    pub async fn copy(self, db: &mut PgConnection) -> sqlx::Result<()> {
        self.invoices.copy(&mut *db).await?;
        self.lines.copy(&mut *db).await?;
        self.taxes.copy(db).await?;
        Ok(())
    }
}

/// Ends an invoice that is open; `false` when it is not.
pub async fn end_open(db: &mut PgConnection, id: Uuid, state: i16) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.invoices.end_open\nUPDATE billing.invoices SET state = $2 WHERE invoice_id = $1 AND state = 1",
        id,
        state
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Why an invoice ended without being paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its root account.
    pub root_id: Uuid,
    /// 3 VOID, 4 UNCOLLECTIBLE.
    pub state: i16,
    /// Why; empty for one that was written off.
    pub reason: String,
    /// Who ended it.
    pub ended_by: String,
    /// When.
    pub ended_at: DateTime<Utc>,
}

/// Notes why an invoice ended.
pub async fn insert_ended(db: &mut PgConnection, ended: &Ended) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices_ended.insert
        INSERT INTO billing.invoices_ended (invoice_id, root_id, state, reason, ended_by, ended_at)
        VALUES ($1, $2, $3, $4, $5, $6)",
        ended.invoice_id,
        ended.root_id,
        ended.state,
        ended.reason,
        ended.ended_by,
        ended.ended_at
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The invoice `id`.
pub async fn get(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Option<Invoice>> {
    sqlx::query_as!(
        Invoice,
        "-- billing.invoices.get
        SELECT invoice_id, series_id, number, root_id, family_code, period_start, period_end, run_id, currency,
               total_minor, from_balance_minor, state, issued_at, charged_minor, credited_minor,
               (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id) AS due_on
        FROM billing.invoices i WHERE invoice_id = $1",
        id
    )
    .fetch_optional(db)
    .await
}

/// The lines of an invoice, in order.
pub async fn lines(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Vec<Line>> {
    sqlx::query_as!(
        Line,
        "-- billing.invoice_lines.list
        SELECT line_number, terms_id, contract_id, start_on, end_on, base_micros, amount_minor
        FROM billing.invoice_lines WHERE invoice_id = $1 ORDER BY line_number",
        id
    )
    .fetch_all(db)
    .await
}

/// Adds the invoice of a purchase, paid by its charge.
pub async fn insert_purchase(db: &mut PgConnection, invoice: &Invoice) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices.insert_purchase
        INSERT INTO billing.invoices (invoice_id, series_id, number, root_id, family_code, period_start, period_end,
            currency, total_minor, from_balance_minor, state, issued_at, charged_minor)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        invoice.invoice_id,
        invoice.series_id,
        invoice.number,
        invoice.root_id,
        invoice.family_code,
        invoice.period_start,
        invoice.period_end,
        invoice.currency,
        invoice.total_minor,
        invoice.from_balance_minor,
        invoice.state,
        invoice.issued_at,
        invoice.charged_minor
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The taxes of an invoice of a month, in order.
pub async fn taxes(db: &mut PgConnection, id: Uuid) -> sqlx::Result<Vec<Tax>> {
    sqlx::query_as!(
        Tax,
        "-- billing.invoice_taxes.list
        SELECT tax_code, rate_bps, amount_minor FROM billing.invoice_taxes
        WHERE invoice_id = $1 ORDER BY line_number",
        id
    )
    .fetch_all(db)
    .await
}

/// Notes that part of an invoice whose account's balance is locked is paid, and its state.
pub async fn pay(db: &mut PgConnection, id: Uuid, minor: i64, state: i16) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices.pay
        UPDATE billing.invoices SET charged_minor = charged_minor + $2, state = $3 WHERE invoice_id = $1",
        id,
        minor,
        state
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Credits part of an invoice whose account's balance is locked, and keeps its state.
pub async fn credit(
    db: &mut PgConnection,
    id: Uuid,
    credited_minor: i64,
    state: i16,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices.credit
        UPDATE billing.invoices SET credited_minor = credited_minor + $2, state = $3 WHERE invoice_id = $1",
        id,
        credited_minor,
        state
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Where a list of invoices goes on: period, root account, invoice.
pub type Place = (NaiveDate, Uuid, Uuid);

/// Up to `limit` open invoices after `after`, newest period first; of a root account, of a run, or of all.
pub async fn list_open(
    db: &mut PgConnection,
    (root, run): (Option<Uuid>, Option<Uuid>),
    after: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<Invoice>> {
    let (period, after_root, after_id) = match after {
        Some((period, root, id)) => (Some(period), Some(root), Some(id)),
        None => (None, None, None),
    };
    sqlx::query_as!(
        Invoice,
        "-- billing.invoices.list_open
        SELECT invoice_id, series_id, number, root_id, family_code, period_start, period_end, run_id, currency,
               total_minor, from_balance_minor, state, issued_at, charged_minor, credited_minor,
               (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id) AS due_on
        FROM billing.invoices i
        WHERE state = 1 AND ($1::uuid IS NULL OR root_id = $1) AND ($2::uuid IS NULL OR run_id = $2)
          AND ($3::date IS NULL OR period_start < $3
               OR (period_start = $3 AND (root_id, invoice_id) > ($4::uuid, $5::uuid)))
        ORDER BY period_start DESC, root_id, invoice_id LIMIT $6",
        root,
        run,
        period,
        after_root,
        after_id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` invoices after `after`, newest period first; of a root account, of a run, or of all.
///
/// Invoices of runs are kept by period, family and account: the runs name the periods to look into.
pub async fn list(
    db: &mut PgConnection,
    (root, run): (Option<Uuid>, Option<Uuid>),
    after: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<Invoice>> {
    let (period, after_root, after_id) = match after {
        Some((period, root, id)) => (Some(period), Some(root), Some(id)),
        None => (None, None, None),
    };
    sqlx::query_as!(
        Invoice,
        r#"-- billing.invoices.list
        (SELECT i.invoice_id AS "invoice_id!", i.series_id AS "series_id!", i.number AS "number!", i.root_id AS "root_id!",
                i.family_code AS "family_code!", i.period_start AS "period_start!", i.period_end AS "period_end!", i.run_id,
                i.currency AS "currency!", i.total_minor AS "total_minor!",
                i.from_balance_minor AS "from_balance_minor!", i.state AS "state!", i.issued_at AS "issued_at!",
                i.charged_minor AS "charged_minor!", i.credited_minor AS "credited_minor!",
                (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id) AS due_on
         FROM billing.runs r
         JOIN billing.invoices i ON i.period_start = r.period_start AND i.family_code = r.family_code
          AND i.run_id = r.run_id AND i.run_id IS NOT NULL
         WHERE NOT r.dry_run AND ($1::uuid IS NULL OR i.root_id = $1) AND ($2::uuid IS NULL OR r.run_id = $2)
           AND ($3::date IS NULL OR i.period_start < $3
                OR (i.period_start = $3 AND (i.root_id, i.invoice_id) > ($4::uuid, $5::uuid)))
         ORDER BY i.period_start DESC, i.root_id, i.invoice_id LIMIT $6)
        UNION ALL
        (SELECT i.invoice_id, i.series_id, i.number, i.root_id, i.family_code, i.period_start, i.period_end, i.run_id,
                i.currency, i.total_minor, i.from_balance_minor, i.state, i.issued_at, i.charged_minor, i.credited_minor,
                (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id)
         FROM billing.invoices i
         WHERE i.run_id IS NULL AND $2::uuid IS NULL AND ($1::uuid IS NULL OR i.root_id = $1)
           AND ($3::date IS NULL OR i.period_start < $3
                OR (i.period_start = $3 AND (i.root_id, i.invoice_id) > ($4::uuid, $5::uuid)))
         ORDER BY i.period_start DESC, i.root_id, i.invoice_id LIMIT $6)
        ORDER BY 6 DESC, 4, 1 LIMIT $6"#,
        root,
        run,
        period,
        after_root,
        after_id,
        limit
    )
    .fetch_all(db)
    .await
}
