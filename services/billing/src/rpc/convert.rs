//! Conversions between wire and domain types of billing.

use std::collections::HashMap;

use chassis::PgConnection;
use chassis::wire::{pb_amount, pb_money, timestamp};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{
    AccountId, Amount, ChargeId, CollectionId, ContractId, Currency, EntryId, InvoiceId, LotId,
    Money, OrderId, RentalId, RunId,
};

use crate::domain::charge::Terms;
use crate::domain::collection::{self, LineKind};
use crate::domain::explanation::{Computed, in_words, rounding_name, total_amount};
use crate::domain::invoice::State;
use crate::domain::rental::Kind;
use crate::domain::run;
use crate::domain::wording::{self, Charged};
use crate::error::Error;
use crate::store::collections::{Collection, Tax};
use crate::store::invoices::{Invoice, Line};
use crate::store::numbers::Series;
use crate::store::rentals::Rental;
use crate::store::runs::{Progress, Run};
use crate::store::{self, ledger::StoredEntry};

pub fn account_id(uuid: Uuid) -> String {
    AccountId::from_uuid(uuid).to_string()
}

/// Formats a month: "2026-04".
pub fn month(start: chrono::NaiveDate) -> String {
    start.format("%Y-%m").to_string()
}

/// The root account `id`.
///
/// # Errors
/// `AccountNotFound`; `UseRootAccount` for a subaccount.
pub async fn root_account(
    db: &mut PgConnection,
    id: AccountId,
) -> Result<store::accounts::Account, Error> {
    let account = store::accounts::get(db, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    Ok(account)
}

pub async fn run(db: &mut PgConnection, run: &Run) -> Result<pb::BillingRun, Error> {
    let progress = store::runs::progress(db, run).await?;
    let mut shown = shown(run, progress)?;
    let voided = store::numbers::voided(db, run.run_id).await?;
    if voided.is_empty() {
        return Ok(shown);
    }
    let ids: Vec<i32> = voided.iter().map(|it| it.series_id).collect();
    let series = store::numbers::get_all(db, &ids).await?;
    for it in &voided {
        let own = series.iter().find(|own| own.series_id == it.series_id);
        let own = own.ok_or(Error::Stored("series"))?;
        let number = |number| own.shown(number);
        shown.voided_numbers.push(pb::billing_run::VoidedNumbers {
            first_number: number(it.first_number),
            last_number: number(it.last_number),
            number_count: it.last_number - it.first_number + 1,
        });
    }
    Ok(shown)
}

pub fn shown(run: &Run, progress: Progress) -> Result<pb::BillingRun, Error> {
    let state = match run.state {
        run::State::Running => pb::billing_run::State::Running,
        run::State::Halted => pb::billing_run::State::Halted,
        run::State::AwaitingApproval => pb::billing_run::State::AwaitingApproval,
        run::State::Completed => pb::billing_run::State::Completed,
        run::State::Cancelled => pb::billing_run::State::Cancelled,
    };
    Ok(pb::BillingRun {
        billing_run_id: RunId::from_uuid(run.run_id).to_string(),
        family_code: run.family_code.clone(),
        month: month(run.period_start),
        dry_run: run.dry_run,
        state: state.into(),
        cut_off_time: Some(timestamp(run.cut_off_at)),
        create_time: Some(timestamp(run.created_at)),
        complete_time: run.completed_at.map(timestamp),
        shard_count: run.shard_count,
        done_shard_count: i32::try_from(progress.done_shards).unwrap_or(i32::MAX),
        account_count: progress.accounts,
        invoice_count: progress.invoices,
        line_count: progress.lines,
        parked_count: progress.parked,
        total: Some(pb_money(Money::from_minor(
            progress.total_minor,
            store::currency(&run.currency)?,
        ))),
        expected_account_count: run.expected_count,
        cancel_reason: run.cancel_reason.clone(),
        voided_numbers: Vec::new(),
    })
}

/// Converts an invoice without its lines.
pub fn invoice(from: &Invoice, series: &[Series]) -> Result<pb::Invoice, Error> {
    let currency = store::currency(&from.currency)?;
    let own = series
        .iter()
        .find(|series| series.series_id == from.series_id)
        .ok_or(Error::Stored("series"))?;
    let state = match from.state {
        State::Open => pb::invoice::State::Open,
        State::Paid => pb::invoice::State::Paid,
        State::Void => pb::invoice::State::Void,
        State::Uncollectible => pb::invoice::State::Uncollectible,
    };
    let money = |minor| Some(pb_money(Money::from_minor(minor, currency)));
    Ok(pb::Invoice {
        invoice_id: InvoiceId::from_uuid(from.invoice_id).to_string(),
        number: own.shown(from.number),
        account_id: account_id(from.root_id),
        family_code: from.family_code.clone(),
        period_start_date: from.period_start.to_string(),
        period_end_date: from.period_end.to_string(),
        billing_run_id: from
            .run_id
            .map(|id| RunId::from_uuid(id).to_string())
            .unwrap_or_default(),
        total: money(from.total_minor),
        paid_from_balance: money(from.from_balance_minor),
        amount_due: money(if state == pb::invoice::State::Void {
            0
        } else {
            let paid = from.from_balance_minor + from.charged_minor;
            (from.total_minor - paid - from.credited_minor).max(0)
        }),
        state: state.into(),
        issue_time: Some(timestamp(from.issued_at)),
        lines: Vec::new(),
        taxes: Vec::new(),
        paid_by_charge: money(from.charged_minor),
        credited: money(from.credited_minor),
        due_date: from.due_on.map(|day| day.to_string()).unwrap_or_default(),
        particulars: None,
        paid_by_overdraft: None,
        credit_notes: Vec::new(),
    })
}

/// Converts an invoice with its lines and taxes.
pub async fn whole_invoice(db: &mut PgConnection, from: &Invoice) -> Result<pb::Invoice, Error> {
    let series = store::numbers::get_all(db, &[from.series_id]).await?;
    let lines = store::invoices::lines(db, from.invoice_id).await?;
    if lines.is_empty() {
        return purchase(db, from, &series).await;
    }
    let ids: Vec<i32> = lines.iter().map(|line| line.terms_id).collect();
    let terms: HashMap<i32, Terms> = store::terms::get_all(db, &ids).await?.into_iter().collect();
    let days_in_month = (from.period_end - from.period_start).num_days();
    let mut shown = invoice(from, &series)?;
    for stored in &lines {
        let terms = terms.get(&stored.terms_id).ok_or(Error::Stored("terms"))?;
        let month = (from.family_code.as_str(), days_in_month);
        shown.lines.push(line(stored, terms, month)?);
    }
    let currency = store::currency(&from.currency)?;
    let taxes = store::invoices::taxes(db, from.invoice_id).await?;
    shown.taxes = taxes.iter().map(|tax| tax_line(tax, currency)).collect();
    Ok(shown)
}

/// Converts the invoice of a purchase, whose lines and taxes are those of its collection.
async fn purchase(
    db: &mut PgConnection,
    from: &Invoice,
    series: &[Series],
) -> Result<pb::Invoice, Error> {
    let currency = store::currency(&from.currency)?;
    let lines = store::collections::lines(db, from.invoice_id).await?;
    let taxes = store::collections::taxes(db, from.invoice_id).await?;
    let shown = lines.iter().zip(1..).map(|(line, number)| {
        let amount = Money::from_minor(line.amount_minor, currency);
        // Older lines have no period of their own and show that of the invoice.
        let start_on = line.start_on.unwrap_or(from.period_start);
        let end_on = line.end_on.unwrap_or(from.period_end);
        let charged = Charged {
            kind: line.kind,
            family: &line.family_code,
            plan: &line.plan_code,
            cycle: &line.cycle_code,
            period: (start_on, end_on),
            days: None,
        };
        pb::InvoiceLine {
            line_number: number,
            plan_code: line.plan_code.clone(),
            start_date: start_on.to_string(),
            end_date: end_on.to_string(),
            amount: Some(pb_money(amount)),
            description: wording::line(&charged),
            quantity: "1".to_owned(),
            unit_price: Some(pb_money(amount)),
            explanation: match line.formula.as_str() {
                "" => format!("1 × {amount} = {amount}"),
                formula => format!("{formula} = {amount}"),
            },
            kind_code: line.kind.as_str().to_owned(),
            billing_cycle_code: line.cycle_code.clone(),
            ..pb::InvoiceLine::default()
        }
    });
    Ok(pb::Invoice {
        lines: shown.collect(),
        taxes: taxes.iter().map(|tax| tax_line(tax, currency)).collect(),
        ..invoice(from, series)?
    })
}

pub fn tax_line(from: &Tax, currency: Currency) -> pb::TaxLine {
    pb::TaxLine {
        tax_code: from.tax_code.clone(),
        rate_bps: i32::try_from(from.rate_bps).unwrap_or(0),
        amount: Some(pb_money(Money::from_minor(from.amount_minor, currency))),
    }
}

/// Converts a collection with its taxes.
pub async fn collection(db: &mut PgConnection, from: &Collection) -> Result<pb::Collection, Error> {
    let currency = store::currency(&from.currency)?;
    let taxes = store::collections::taxes(db, from.collection_id).await?;
    let state = match from.state {
        collection::State::Created | collection::State::Pending => pb::collection::State::Pending,
        collection::State::AwaitingSettlement => pb::collection::State::AwaitingSettlement,
        collection::State::Unknown => pb::collection::State::Unknown,
        collection::State::Parked => pb::collection::State::Parked,
        collection::State::Succeeded => pb::collection::State::Succeeded,
        collection::State::Declined => pb::collection::State::Declined,
        collection::State::Invoiced => pb::collection::State::Invoiced,
    };
    let made = match from.state {
        collection::State::Succeeded | collection::State::Invoiced => Some(from.collection_id),
        collection::State::Created
        | collection::State::Pending
        | collection::State::AwaitingSettlement
        | collection::State::Unknown
        | collection::State::Parked
        | collection::State::Declined => None,
    };
    let invoice_id = from.invoice_id.or(made);
    Ok(pb::Collection {
        collection_id: CollectionId::from_uuid(from.collection_id).to_string(),
        order_id: from
            .order_id
            .map(|id| OrderId::from_uuid(id).to_string())
            .unwrap_or_default(),
        state: state.into(),
        amount: Some(pb_money(Money::from_minor(from.total_minor, currency))),
        invoice_id: invoice_id
            .map(|id| InvoiceId::from_uuid(id).to_string())
            .unwrap_or_default(),
        failure_reason: from.failure_reason.clone(),
        charge_id: from
            .charge_id
            .map(|id| ChargeId::from_uuid(id).to_string())
            .unwrap_or_default(),
        action_url: from.action_url.clone(),
        taxes: taxes.iter().map(|tax| tax_line(tax, currency)).collect(),
        account_id: account_id(from.root_id),
    })
}

/// Converts a line with all inputs of its computation. The monthly charge is computed again from its base and terms.
pub fn line(
    from: &Line,
    terms: &Terms,
    (family, days_in_month): (&str, i64),
) -> Result<pb::InvoiceLine, Error> {
    let currency = terms.currency;
    let monthly_total = terms
        .charge
        .monthly_total(from.base_micros, currency)
        .ok_or(Error::Stored("usage base"))?;
    let active_days = (from.end_on - from.start_on).num_days();
    let computed = Computed {
        charge: &terms.charge,
        currency,
        base_micros: from.base_micros,
        monthly_total,
        active_days,
        days_in_month,
        minor: from.amount_minor,
    };
    let days = |days: i64| i32::try_from(days).unwrap_or(0);
    let charged = Charged {
        kind: LineKind::Subscription,
        family,
        plan: &terms.plan_code,
        cycle: "",
        period: (from.start_on, from.end_on),
        days: Some((days(active_days), days(days_in_month))),
    };
    let amount = pb_money(Money::from_minor(from.amount_minor, currency));
    Ok(pb::InvoiceLine {
        line_number: i32::from(from.line_number),
        plan_code: terms.plan_code.clone(),
        catalogue_version: terms.catalogue_version.clone(),
        contract_id: from
            .contract_id
            .map(|id| ContractId::from_uuid(id).to_string())
            .unwrap_or_default(),
        start_date: from.start_on.to_string(),
        end_date: from.end_on.to_string(),
        active_days: days(active_days),
        days_in_month: days(days_in_month),
        usage_base: Some(pb_amount(Amount::from_micros(from.base_micros, currency))),
        terms: terms.charge.in_words(currency),
        total_numerator: monthly_total.numerator().to_string(),
        total_denominator: monthly_total.denominator().to_string(),
        total_monthly_charge: Some(pb_amount(total_amount(monthly_total, currency))),
        rounding: rounding_name(terms.rounding).to_owned(),
        amount: Some(amount.clone()),
        explanation: in_words(&computed),
        kind_code: LineKind::Subscription.as_str().to_owned(),
        billing_cycle_code: String::new(),
        hsn_sac_code: String::new(),
        description: wording::line(&charged),
        quantity: "1".to_owned(),
        unit_price: Some(amount),
    })
}

pub fn entry(from: &StoredEntry) -> Result<pb::LedgerEntry, Error> {
    Ok(pb::LedgerEntry {
        entry_id: EntryId::from_uuid(from.entry_id).to_string(),
        debit_account: from.debit.clone(),
        credit_account: from.credit.clone(),
        amount: Some(pb_amount(Amount::from_micros(
            from.amount_micros,
            store::currency(&from.currency)?,
        ))),
        reason: from.reason.clone(),
        lot_id: from
            .lot_id
            .map(|id| LotId::from_uuid(id).to_string())
            .unwrap_or_default(),
        invoice_id: from
            .invoice_id
            .map(|id| InvoiceId::from_uuid(id).to_string())
            .unwrap_or_default(),
        post_time: Some(timestamp(from.posted_at)),
    })
}

/// Formats a quantity in millionths as a plain decimal.
pub fn quantity(micros: i64) -> String {
    Amount::from_micros(micros, Currency::Usd).to_string()
}

/// Parses the position in a list ordered by time from a page token.
pub fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((
        DateTime::from_timestamp_micros(at.parse().ok()?)?,
        Uuid::try_parse(id).ok()?,
    ))
}

pub fn rental(from: &Rental) -> Result<pb::Rental, Error> {
    let kind = match from.kind {
        Kind::AddOn => pb::rental::Kind::AddOn,
        Kind::Number => pb::rental::Kind::Number,
    };
    let price = Amount::from_micros(from.monthly_micros, store::currency(&from.currency)?);
    Ok(pb::Rental {
        rental_id: RentalId::from_uuid(from.rental_id).to_string(),
        account_id: AccountId::from_uuid(from.root_id).to_string(),
        kind: kind.into(),
        code: from.code.clone(),
        monthly_price: Some(pb_amount(price)),
        start_time: Some(timestamp(from.start_at)),
        next_charge_time: from.ended_at.is_none().then(|| timestamp(from.next_at)),
        end_time: from.ended_at.map(timestamp),
    })
}
