//! `billing.invoices`, `billing.invoice_lines`, `billing.invoice_taxes` and `billing.invoices_ended`

use chassis::PgConnection;
use chrono::{DateTime, NaiveDate, Utc};
use uuid::Uuid;

use super::collections::Tax;
use super::copy::Rows;
use crate::domain::invoice::State;

chassis::stored_as_number!(State, "billing.invoices.state");

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
    /// The plan family; empty unless it bills a month.
    pub family_code: String,
    /// The first day of the period.
    pub period_start: NaiveDate,
    /// The day after the period.
    pub period_end: NaiveDate,
    /// The billing run that issued it; `None` for purchases and closings.
    pub run_id: Option<Uuid>,
    /// The currency.
    pub currency: String,
    /// Total of lines and taxes, in minor units.
    pub total_minor: i64,
    /// Amount paid from the balance, in minor units.
    pub from_balance_minor: i64,
    /// Its state.
    pub state: State,
    /// Time of issue.
    pub issued_at: DateTime<Utc>,
    /// Amount paid by charges or by money received outside the platform, in minor units.
    pub charged_minor: i64,
    /// Amount credited by credit notes, in minor units.
    pub credited_minor: i64,
    /// Due date; `None` if it was paid on issue.
    pub due_on: Option<NaiveDate>,
}

impl Invoice {
    /// The amount due in minor units; 0 unless it is open.
    pub const fn due_minor(&self) -> i64 {
        let paid = self.from_balance_minor + self.charged_minor;
        let left = self.total_minor - paid - self.credited_minor;
        if matches!(self.state, State::Open) && 0 < left {
            left
        } else {
            0
        }
    }
}

/// A line as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Line number, from 1.
    pub line_number: i16,
    /// The terms it was computed from.
    pub terms_id: i32,
    /// The contract it is under, if any.
    pub contract_id: Option<Uuid>,
    /// First day billed.
    pub start_on: NaiveDate,
    /// Day after the last one billed.
    pub end_on: NaiveDate,
    /// Usage that percentages apply to, in millionths.
    pub base_micros: i64,
    /// Amount in minor units.
    pub amount_minor: i64,
}

/// A batch of invoices, lines and taxes to be written by COPY.
pub struct Batch {
    invoices: Rows,
    lines: Rows,
    taxes: Rows,
}

impl Batch {
    /// An empty batch.
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
        rows.smallint(invoice.state.number());
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

    /// Writes invoices, then lines and taxes. A second invoice of a payer, family and period is refused by
    /// `invoices_one_a_period`.
    pub async fn copy(self, db: &mut PgConnection) -> sqlx::Result<()> {
        self.invoices.copy(&mut *db).await?;
        self.lines.copy(&mut *db).await?;
        self.taxes.copy(db).await?;
        Ok(())
    }
}

/// Moves an open invoice to another state; `false` if it is not open.
pub async fn end_open(db: &mut PgConnection, id: Uuid, state: State) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "-- billing.invoices.end_open\nUPDATE billing.invoices SET state = $2 WHERE invoice_id = $1 AND state = 1",
        id,
        state.number()
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The end of an unpaid invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The invoice.
    pub invoice_id: Uuid,
    /// Its root account.
    pub root_id: Uuid,
    /// The state that it ended in.
    pub state: State,
    /// The reason given; empty for a write-off.
    pub reason: String,
    /// Who ended it.
    pub ended_by: String,
    /// Time of the end.
    pub ended_at: DateTime<Utc>,
}

/// Adds the end of an unpaid invoice.
pub async fn insert_ended(db: &mut PgConnection, ended: &Ended) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices_ended.insert
        INSERT INTO billing.invoices_ended (invoice_id, root_id, state, reason, ended_by, ended_at)
        VALUES ($1, $2, $3, $4, $5, $6)",
        ended.invoice_id,
        ended.root_id,
        ended.state.number(),
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

/// Adds the invoice of a collection.
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
        invoice.state.number(),
        invoice.issued_at,
        invoice.charged_minor
    )
    .execute(db)
    .await?;
    Ok(())
}

/// The taxes of a monthly invoice, in order.
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

/// Adds a payment to an invoice and sets its state. The account's balance is locked.
pub async fn pay(db: &mut PgConnection, id: Uuid, minor: i64, state: State) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices.pay
        UPDATE billing.invoices SET charged_minor = charged_minor + $2, state = $3 WHERE invoice_id = $1",
        id,
        minor,
        state.number()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Adds a credited amount to an invoice and sets its state. The account's balance is locked.
pub async fn credit(
    db: &mut PgConnection,
    id: Uuid,
    credited_minor: i64,
    state: State,
) -> sqlx::Result<()> {
    sqlx::query!(
        "-- billing.invoices.credit
        UPDATE billing.invoices SET credited_minor = credited_minor + $2, state = $3 WHERE invoice_id = $1",
        id,
        credited_minor,
        state.number()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Position in a list of invoices: time of issue and id of the last one returned. Ids are in order of numbers.
pub type Place = (DateTime<Utc>, Uuid);

/// Up to `limit` open invoices before `before`, newest first; of a root account, of a run, or of all.
pub async fn list_open(
    db: &mut PgConnection,
    (root, run): (Option<Uuid>, Option<Uuid>),
    before: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<Invoice>> {
    let (issued_at, id) = before.unzip();
    sqlx::query_as!(
        Invoice,
        "-- billing.invoices.list_open
        SELECT invoice_id, series_id, number, root_id, family_code, period_start, period_end, run_id, currency,
               total_minor, from_balance_minor, state, issued_at, charged_minor, credited_minor,
               (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id) AS due_on
        FROM billing.invoices i
        WHERE state = 1 AND ($1::uuid IS NULL OR root_id = $1) AND ($2::uuid IS NULL OR run_id = $2)
          AND ($3::timestamptz IS NULL OR (issued_at, invoice_id) < ($3, $4::uuid))
        ORDER BY issued_at DESC, invoice_id DESC LIMIT $5",
        root,
        run,
        issued_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// The root accounts from `low` to `high` that a run has invoiced for a family and month, each with whether the run
/// exists in `billing.runs`.
pub async fn by_runs(
    db: &mut PgConnection,
    (family, period_start): (&str, NaiveDate),
    (low, high): (Uuid, Uuid),
) -> sqlx::Result<Vec<(Uuid, bool)>> {
    let rows = sqlx::query!(
        r#"-- billing.invoices.by_runs
        SELECT i.root_id, EXISTS (SELECT FROM billing.runs r WHERE r.run_id = i.run_id) AS "known!"
        FROM billing.invoices i
        WHERE i.period_start = $1 AND i.family_code = $2 AND i.root_id BETWEEN $3 AND $4 AND i.run_id IS NOT NULL"#,
        period_start,
        family,
        low,
        high
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.root_id, row.known))
        .collect())
}

/// Up to `limit` invoices before `before`, newest first; of a run, or of all.
pub async fn list(
    db: &mut PgConnection,
    run: Option<Uuid>,
    before: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<Invoice>> {
    let (issued_at, id) = before.unzip();
    sqlx::query_as!(
        Invoice,
        "-- billing.invoices.list
        SELECT invoice_id, series_id, number, root_id, family_code, period_start, period_end, run_id, currency,
               total_minor, from_balance_minor, state, issued_at, charged_minor, credited_minor,
               (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id) AS due_on
        FROM billing.invoices i
        WHERE ($1::uuid IS NULL OR run_id = $1)
          AND ($2::timestamptz IS NULL OR (issued_at, invoice_id) < ($2, $3::uuid))
        ORDER BY issued_at DESC, invoice_id DESC LIMIT $4",
        run,
        issued_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}

/// Up to `limit` invoices of a root account before `before`, newest first; of a run, or of all.
///
/// Invoices of runs are indexed by period, family and account, so the runs tell which periods to search.
pub async fn list_of(
    db: &mut PgConnection,
    (root, run): (Uuid, Option<Uuid>),
    before: Option<Place>,
    limit: i64,
) -> sqlx::Result<Vec<Invoice>> {
    let (issued_at, id) = before.unzip();
    sqlx::query_as!(
        Invoice,
        r#"-- billing.invoices.list_of
        (SELECT i.invoice_id AS "invoice_id!", i.series_id AS "series_id!", i.number AS "number!", i.root_id AS "root_id!",
                i.family_code AS "family_code!", i.period_start AS "period_start!", i.period_end AS "period_end!", i.run_id,
                i.currency AS "currency!", i.total_minor AS "total_minor!",
                i.from_balance_minor AS "from_balance_minor!", i.state AS "state!: State", i.issued_at AS "issued_at!",
                i.charged_minor AS "charged_minor!", i.credited_minor AS "credited_minor!",
                (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id) AS due_on
         FROM billing.runs r
         JOIN billing.invoices i ON i.period_start = r.period_start AND i.family_code = r.family_code
          AND i.run_id = r.run_id AND i.run_id IS NOT NULL
         WHERE NOT r.dry_run AND i.root_id = $1 AND ($2::uuid IS NULL OR r.run_id = $2)
           AND ($3::timestamptz IS NULL OR (i.issued_at, i.invoice_id) < ($3, $4::uuid))
         ORDER BY i.issued_at DESC, i.invoice_id DESC LIMIT $5)
        UNION ALL
        (SELECT i.invoice_id, i.series_id, i.number, i.root_id, i.family_code, i.period_start, i.period_end, i.run_id,
                i.currency, i.total_minor, i.from_balance_minor, i.state, i.issued_at, i.charged_minor, i.credited_minor,
                (SELECT d.due_on FROM billing.dunnings d WHERE d.invoice_id = i.invoice_id)
         FROM billing.invoices i
         WHERE i.run_id IS NULL AND $2::uuid IS NULL AND i.root_id = $1
           AND ($3::timestamptz IS NULL OR (i.issued_at, i.invoice_id) < ($3, $4::uuid))
         ORDER BY i.issued_at DESC, i.invoice_id DESC LIMIT $5)
        ORDER BY 13 DESC, 1 DESC LIMIT $5"#,
        root,
        run,
        issued_at,
        id,
        limit
    )
    .fetch_all(db)
    .await
}
