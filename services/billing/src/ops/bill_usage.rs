//! Invoices usage and rentals of accounts that pay by invoice. Usage is overdraft until an open invoice is issued at
//! the start of the next month (REQ-037).

use chassis::PgConnection;
use chrono::{DateTime, Days, Months, Utc};
use uuid::Uuid;

use super::collect::{self, Of};
use crate::clients::{Catalogue, Profile};
use crate::ctx::Ctx;
use crate::domain::collection::{LineKind, Purpose};
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::collections::{self, Line};
use crate::store::{closings, ledger, usage_bills};

/// The end of the month that contains `now`, in the time zone of a profile.
fn month_end(profile: &Profile, now: DateTime<Utc>) -> DateTime<Utc> {
    let first = profile.zone.day(collect::month_start(profile, now));
    let next = first.checked_add_months(Months::new(1));
    profile.zone.start_of(next.unwrap_or(first + Days::new(31)))
}

/// Schedules monthly usage invoices from the end of this month, if the account pays by invoice.
pub async fn begin(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    account: &Account,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if !account.invoiced || account.account_id != account.root_id {
        return Ok(());
    }
    let end = month_end(collect::profile(catalogue, account)?, now);
    Ok(usage_bills::insert(db, account.root_id, end).await?)
}

/// Invoices the usage of a root account whose month has ended. Safe to repeat.
pub async fn go_on(
    ctx: &Ctx,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    ledger::lock(&mut tx, &[root]).await?;
    let ended = usage_bills::lock(&mut tx, root).await?;
    let Some(ended) = ended.filter(|end| *end <= now) else {
        return Ok(());
    };
    let account = accounts::get(&mut tx, root).await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let closing = closings::get(&mut tx, root).await?;
    let over = closing.is_some_and(|it| it.is_settled()) || !account.invoiced;
    if account.invoiced {
        bill(&mut tx, (catalogue, &account), ended, now).await?;
    }
    if over {
        usage_bills::delete(&mut tx, root).await?;
    } else {
        let end = month_end(collect::profile(catalogue, &account)?, now);
        usage_bills::set(&mut tx, root, end).await?;
    }
    Ok(tx.commit().await?)
}

/// Issues the invoice of the overdraft in whole minor units; the fraction stays owed. The caller holds the lock of
/// the balance.
async fn bill(
    db: &mut PgConnection,
    (catalogue, account): (&Catalogue, &Account),
    ended: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = account.root_id;
    let profile = collect::profile(catalogue, account)?;
    let (owed, disputed) = ledger::owed(db, root)
        .await?
        .ok_or(Error::Stored("balance"))?;
    // Debt from a dispute is not usage, so it is neither invoiced nor taxed.
    let minor = (owed - disputed) / profile.currency.micros_per_minor();
    // The id is derived from the month, so each month is invoiced once.
    let id = Uuid::new_v5(&root, format!("usage {}", ended.timestamp()).as_bytes());
    if minor <= 0 || collections::get(db, id).await?.is_some() {
        return Ok(());
    }
    let of = Of {
        purpose: Purpose::Usage,
        order: None,
        invoice: None,
        method: None,
        intent: id,
        id,
    };
    let end = profile.zone.day(ended);
    let line = Line {
        formula: format!("used before {end} and not paid from credit"),
        start_on: end.checked_sub_months(Months::new(1)),
        end_on: Some(end),
        ..Line::plain(LineKind::Usage, minor)
    };
    let owed = collect::begin(db, (catalogue, account), &of, &[line], now).await?;
    collect::invoice(db, catalogue, &owed, now).await
}
