//! Closing an account (D23): the days up to and including the closing day are invoiced by the function that invoices
//! a month, the remaining paid credit is refunded, and other credit is forfeited.
//!
//! Preparing a closing executes it and rolls it back, so that the figures shown are the figures that will be settled.
//! From then on the balance is frozen: no charge is requested and no credit granted. Usage that arrives is still
//! debited; settling computes the figures again.

use chassis::PgConnection;
use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use uuid::Uuid;
use values::{AccountId, Currency, Period};

use super::collect;
use super::give_back::{self, Asked};
use super::rate::{self, Rated, Terms};
use super::renewal;
use super::segments::{Pools, Selection};
use super::settle::{self, Header, Number};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::lots::LotKind;
use crate::domain::numbers::invoice_id;
use crate::domain::run::State;
use crate::error::Error;
use crate::store::accounts::Account;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{auto_recharges, closings, invoices, numbers, parked, runs, subscriptions};

/// How many months before the closing are searched for months that no run has billed.
const MONTHS_BACK: usize = 12;

/// A month that the closing bills because no run will.
pub struct Month {
    family: String,
    period: Period,
    currency: Currency,
    terms_ids: Vec<i32>,
    /// The rated month; `None` if it costs nothing.
    rated: Option<Rated>,
}

/// The figures of a closing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Sum of the final invoices in minor units.
    pub settlement_minor: i64,
    /// Sum of the refunds in minor units, tax included.
    pub refund_minor: i64,
    /// Forfeited credit in millionths.
    pub forfeited_micros: i64,
    /// Day by which the refunds are paid out; `None` without a refund.
    pub due_on: Option<NaiveDate>,
    /// The last invoice, if any.
    pub invoice_id: Option<Uuid>,
}

/// The months of an account that no run will bill, rated up to and including the day of `close_at`.
///
/// # Errors
/// `StillParked` if a month can't be rated or is parked; `RunUnderWay` if a run of one invoices and has not ended.
pub async fn months(
    ctx: &Ctx,
    catalogue: &Catalogue,
    account: &Account,
    close_at: DateTime<Utc>,
) -> Result<Vec<Month>, Error> {
    let profile = collect::profile(catalogue, account)?;
    let mut months = Vec::new();
    for family in &profile.families {
        let policy = catalogue.families.get(family);
        let Some(policy) = policy.filter(|policy| policy.in_arrears) else {
            continue;
        };
        let root = account.root_id;
        if let Some(detail) = parked::open(&mut ctx.db.acquire().await?, family, root).await? {
            return Err(Error::StillParked {
                account: AccountId::from_uuid(root),
                reason: "PARKED",
                detail,
            });
        }
        let (zone, currency) = (policy.zone, policy.currency);
        let last = zone.day(close_at);
        let first = zone.day(account.created_at);
        let starts = std::iter::successors(last.with_day(1), |day| {
            day.checked_sub_months(Months::new(1))
        });
        let mut billed = false;
        for start in starts.take(MONTHS_BACK + 1) {
            let period = Period::month_of(start).map_err(|_| Error::Stored("month"))?;
            let run = runs::real(&mut ctx.db.acquire().await?, family, start).await?;
            // A run may wait for its approval for ever, and a customer may leave at any time (REQ-039).
            let rates = run.as_ref().is_some_and(runs::Run::only_rates);
            let run = run.filter(|run| !run.only_rates());
            if let Some(run) = &run
                && run.state != State::Completed
            {
                let family = family.clone();
                return Err(Error::RunUnderWay {
                    family,
                    period_start: start,
                });
            }
            if period.end() <= first {
                break;
            }
            // A cancelled run has billed only the payers that it had invoiced.
            let invoiced = by_run(&mut ctx.db.acquire().await?, (family, start), root).await?;
            if run.is_some() || invoiced {
                billed = true;
                continue;
            }
            // Runs are created in order of month; only a cancelled run lets a later one be created before it. One that
            // waits for its approval may do so while later ones are made.
            if billed
                && !rates
                && !runs::was_cancelled(&mut ctx.db.acquire().await?, family, start).await?
            {
                break;
            }
            let of = (account.account_id, family.as_str());
            let month = rated(ctx, catalogue, of, (period, last, close_at)).await?;
            months.push(Month { currency, ..month });
        }
    }
    months.reverse();
    Ok(months)
}

/// Whether a billing run has invoiced a payer for a month.
async fn by_run(
    db: &mut PgConnection,
    month: (&str, NaiveDate),
    root: Uuid,
) -> Result<bool, Error> {
    Ok(!invoices::by_runs(db, month, (root, root)).await?.is_empty())
}

/// Rates a month of a payer as if its timeline ended at `close_at`, on the day `last`. The result is the same before
/// the timeline has ended (preparing) and after (settling).
async fn rated(
    ctx: &Ctx,
    catalogue: &Catalogue,
    (payer, family): (Uuid, &str),
    (period, last, close_at): (Period, NaiveDate, DateTime<Utc>),
) -> Result<Month, Error> {
    let selection = Selection {
        family,
        period,
        shard: (0, 1),
        after: None,
        payer: Some(payer),
        closes_at: Some(close_at),
    };
    let mut pools = Pools::open(ctx, &selection).await?;
    let mut pool = pools.next(ctx, 1).await?;
    // The closing day is billed (C-05).
    let end = (last - period.start()).num_days() + 1;
    let end = i32::try_from(end).unwrap_or(i32::MAX);
    for span in pool.iter_mut().flat_map(|pool| &mut pool.spans) {
        span.end_day = span.end_day.min(end);
    }
    let currency = catalogue
        .families
        .get(family)
        .map(|family| family.currency)
        .ok_or_else(|| Error::FamilyNotFound(family.to_owned()))?;
    let excluded = catalogue
        .families
        .get(family)
        .map(|family| &family.excluded_categories[..])
        .unwrap_or_default();
    let terms = Terms {
        family,
        period,
        currency,
        excluded,
        catalogue,
        book: &pools.book,
    };
    let ratings = rate::rate(&mut ctx.db.acquire().await?, &pool, &terms).await?;
    if let Some(unrated) = ratings.unrated.first() {
        return Err(Error::StillParked {
            account: AccountId::from_uuid(payer),
            reason: unrated.reason,
            detail: unrated.detail.clone(),
        });
    }
    Ok(Month {
        family: family.to_owned(),
        period,
        currency,
        terms_ids: pools.book.ids.clone(),
        rated: ratings.rated.into_iter().next(),
    })
}

/// Invoices, forfeits and refunds in the caller's transaction.
///
/// # Errors
/// `Requote` if a run has taken over one of `months` since they were rated.
pub async fn settle(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (account, months): (&Account, &[Month]),
    (intent, close_at): (Uuid, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<Figures, Error> {
    let root = account.root_id;
    closings::hold_runs(db).await?;
    ledger::lock(db, &[root]).await?;
    let mut figures = Figures {
        settlement_minor: 0,
        refund_minor: 0,
        forfeited_micros: 0,
        due_on: None,
        invoice_id: None,
    };
    for month in months {
        let key = (month.family.as_str(), month.period.start());
        // A run was created or approved after the month was rated; that run bills it.
        let run = runs::real(db, key.0, key.1).await?;
        if run.is_some_and(|run| !run.only_rates()) || by_run(db, key, root).await? {
            return Err(Error::Requote);
        }
        closings::insert_period(db, key, root).await?;
        if let Some(rated) = &month.rated {
            let id = invoiced(db, catalogue, (month, rated), now).await?;
            figures.settlement_minor = figures.settlement_minor.saturating_add(rated.total_minor);
            figures.invoice_id = Some(id);
        }
    }
    figures.forfeited_micros = forfeit(db, account, now).await?;
    auto_recharges::switch_off(db, root, "CLOSED").await?;
    for unpaid in subscriptions::lock_all(db, root).await? {
        renewal::void_cycle(db, &unpaid, now).await?;
    }
    subscriptions::delete_all(db, root).await?;
    let asked = Asked {
        account,
        intent,
        most: None,
        any_time: true,
        due_from: close_at,
    };
    let refunds = give_back::take(db, catalogue, &asked, now).await?;
    for refund in &refunds {
        figures.refund_minor = figures.refund_minor.saturating_add(refund.amount_minor);
        figures.due_on = Some(refund.due_on);
    }
    // Credit that can't be refunded is reported as forfeited; a closed account keeps none.
    let rest = forfeit_rest(db, account, now).await?;
    figures.forfeited_micros = figures.forfeited_micros.saturating_add(rest);
    Ok(figures)
}

/// Issues and settles the invoice of a month; returns its id.
async fn invoiced(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (month, rated): (&Month, &Rated),
    now: DateTime<Utc>,
) -> Result<Uuid, Error> {
    let series_id = settle::series_of(db, catalogue, (&rated.profile, ""), now).await?;
    let number = numbers::take(db, series_id, 1).await?;
    let number = Number { series_id, number };
    let header = Header {
        run_id: None,
        family: &month.family,
        period: month.period,
        currency: month.currency,
        issued_at: now,
        catalogue,
        terms_ids: &month.terms_ids,
    };
    settle::settle(db, &header, &[(rated, number)]).await?;
    Ok(invoice_id(number.series_id, number.number).uuid())
}

/// Forfeits the paid credit that is not refunded, because it is below the minimum payout or its payer got it back
/// through a dispute (D32). Returns the amount in millionths. Credit spent from these lots can still return if a
/// correction lowers the cost of usage.
async fn forfeit_rest(
    db: &mut PgConnection,
    account: &Account,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let root = account.root_id;
    let mut entries = Entries::new(&account.currency, now);
    let mut sum = 0_i64;
    for (_, lot) in ledger::lots(db, (root, root)).await? {
        if lot.remaining_micros == 0 {
            continue;
        }
        let entry = Entry {
            root_id: root,
            debit: LedgerAccount::Lot(lot.kind),
            credit: LedgerAccount::Forfeited,
            amount_micros: lot.remaining_micros,
            lot_id: Some(lot.id),
            invoice_id: None,
            reason: "PAID_FORFEITED",
        };
        entries.add(Uuid::new_v5(&lot.id, b"closed"), &entry);
        ledger::take_out(db, &[root], &[lot.id], &[lot.remaining_micros]).await?;
        sum = sum.saturating_add(lot.remaining_micros);
    }
    entries.copy(db).await?;
    Ok(sum)
}

/// Forfeits the remaining trial and promotional credit (REQ-063, REQ-065). Returns the amount in millionths.
async fn forfeit(
    db: &mut PgConnection,
    account: &Account,
    now: DateTime<Utc>,
) -> Result<i64, Error> {
    let root = account.root_id;
    let mut entries = Entries::new(&account.currency, now);
    let mut sum = 0_i64;
    for (_, lot) in ledger::lots(db, (root, root)).await? {
        let reason = match lot.kind {
            LotKind::Trial => "TRIAL_FORFEITED",
            LotKind::Promo => "PROMO_FORFEITED",
            LotKind::Paid => continue,
        };
        let entry = Entry {
            root_id: root,
            debit: LedgerAccount::Lot(lot.kind),
            credit: LedgerAccount::Forfeited,
            amount_micros: lot.remaining_micros,
            lot_id: Some(lot.id),
            invoice_id: None,
            reason,
        };
        // A lot is forfeited once, here or at its expiry: the entry has the id of the lot.
        entries.add(lot.id, &entry);
        sum = sum.saturating_add(lot.remaining_micros);
    }
    entries.copy(db).await?;
    for kind in [LotKind::Trial, LotKind::Promo] {
        ledger::write_off(db, root, kind, now).await?;
    }
    Ok(sum)
}
