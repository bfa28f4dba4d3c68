//! What closing an account settles and gives back (D23): the days up to and with the closing day are billed
//! by the function that bills a month, what is left of paid credit goes back, other credit is written off.
//!
//! A closing is prepared by doing all of it and undoing it at once: what is told before is what will be
//! done. From then on the balance stands still: nothing is asked for or granted.
//! Usage that comes in is debited until it is settled, which computes it anew.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::{AccountId, Currency, Period};

use super::collect;
use super::give_back::{self, Asked};
use super::rate::{self, Rated, Terms};
use super::segments::{Pools, Selection};
use super::settle::{self, Header, Number};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::lots::LotKind;
use crate::domain::numbers::invoice_id;
use crate::error::Error;
use crate::store::accounts::Account;
use crate::store::ledger::{self, Entries, Entry, LedgerAccount};
use crate::store::{auto_recharges, closings, numbers, parked, runs, subscriptions};

/// How many months before the closing are looked at that no run has billed.
const MONTHS_BACK: usize = 12;

/// A month that no run will bill.
pub struct Month {
    family: String,
    period: Period,
    currency: Currency,
    terms_ids: Vec<i32>,
    /// What it costs; `None` for nothing.
    rated: Option<Rated>,
}

/// What a closing comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// What was owed, in minor units.
    pub settlement_minor: i64,
    /// What goes back, tax included.
    pub refund_minor: i64,
    /// Credit written off, in millionths.
    pub forfeited_micros: i64,
    /// Until when the refund is paid out.
    pub due_on: Option<NaiveDate>,
    /// The last invoice.
    pub invoice_id: Option<Uuid>,
}

/// The months of an account that no run will bill, rated up to and with the day of `close_at`.
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
        if let Some(detail) = parked::open(&mut *ctx.db.acquire().await?, family, root).await? {
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
        for start in starts.take(MONTHS_BACK + 1) {
            let period = Period::month_of(start).map_err(|_| Error::Stored("month"))?;
            let run = runs::real(&mut *ctx.db.acquire().await?, family, start).await?;
            if let Some(run) = &run
                && run.state != "COMPLETED"
            {
                let family = family.clone();
                return Err(Error::RunUnderWay {
                    family,
                    period_start: start,
                });
            }
            // Months before it are their runs' too: runs are made one after the other.
            if run.is_some() || period.end() <= first {
                break;
            }
            let month = rated(ctx, catalogue, (account.account_id, family), (period, last)).await?;
            months.push(Month { currency, ..month });
        }
    }
    months.reverse();
    Ok(months)
}

/// A month of a payer, rated as if its timeline ended with the day `last`.
async fn rated(
    ctx: &Ctx,
    catalogue: &Catalogue,
    (payer, family): (Uuid, &str),
    (period, last): (Period, NaiveDate),
) -> Result<Month, Error> {
    let selection = Selection {
        family,
        period,
        shard: (0, 1),
        after: None,
        payer: Some(payer),
    };
    let mut pools = Pools::open(ctx, &selection).await?;
    let mut pool = pools.next(ctx, 1).await?;
    // The closing day counts (C-05).
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
    let ratings = rate::rate(&mut *ctx.db.acquire().await?, &pool, &terms).await?;
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

/// Settles and gives back, in the caller's transaction.
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
        // A run was made since the month was rated: it bills it.
        if runs::real(db, key.0, key.1).await?.is_some() {
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
    Ok(figures)
}

/// The invoice of a month, settled.
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

/// Writes off what is left of trial and promotional credit (REQ-063, REQ-065); gives how much.
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
        // A lot is forfeited once, here or at its expiry: its id is its entry's.
        entries.add(lot.id, &entry);
        sum = sum.saturating_add(lot.remaining_micros);
    }
    entries.copy(db).await?;
    for kind in [LotKind::Trial, LotKind::Promo] {
        ledger::write_off(db, root, kind).await?;
    }
    Ok(sum)
}
