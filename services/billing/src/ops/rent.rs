//! Monthly rentals. Each month is paid from the balance at its start.

use std::sync::Arc;

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use values::AccountId;

use super::collect;
use super::spend::{self, Bill, Spending};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::rental::{Access, Kind, month_start};
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::closings;
use crate::store::ledger::{self, Entries, LedgerAccount};
use crate::store::rentals::{self, Rental};

/// What the next month of a rental is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is charged.
    Paid,
    /// It is free.
    Free,
    /// The rental has ended.
    Over,
}

/// Charges month number `month` of a rental, counted from 0. The caller holds the lock of the balance.
pub async fn pay(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (account, rental, month): (&Account, &Rental, i32),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let root = account.root_id;
    let purse = spend::purses(db, &[root]).await?.remove(&root);
    let bill = Bill {
        root,
        profile: &account.profile_code,
        micros: rental.monthly_micros,
        to: LedgerAccount::Revenue,
        word: "RENTAL",
        invoice: None,
    };
    let mut spending = Spending::new(catalogue, now);
    let mut entries = Entries::new(&account.currency, now);
    // The entry ids are derived from the month, so it is charged once.
    let id = |place: u16| {
        let name = format!("month {month} entry {place}");
        Uuid::new_v5(&rental.rental_id, name.as_bytes())
    };
    spending.pay(&bill, purse.unwrap_or_default(), &mut entries, id)?;
    entries.copy(db).await?;
    spending.flush(db).await
}

/// Starts the next month of a rental that is due.
pub async fn go_on(
    ctx: &Ctx,
    catalogue: &Arc<Catalogue>,
    rental: &Rental,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let next = next(ctx, catalogue, rental).await?;
    let mut tx = ctx.db.begin().await?;
    ledger::lock(&mut tx, &[rental.root_id]).await?;
    let known = rentals::lock(&mut tx, rental.rental_id).await?;
    // An unchanged row means that no other worker has started the month.
    if known.as_ref() != Some(rental) {
        return Ok(());
    }
    let root = rental.root_id;
    let closing = closings::stands(&mut tx, root).await?;
    match next {
        Next::Over => rentals::end(&mut tx, (root, Some(rental.rental_id)), rental.next_at).await?,
        // The rental ends with its account without further charges, or continues when the closing is aborted.
        Next::Paid | Next::Free if closing => rentals::put_off(&mut tx, rental.rental_id).await?,
        Next::Paid | Next::Free => {
            let account = accounts::get(&mut tx, root)
                .await?
                .ok_or(Error::Stored("account"))?;
            let zone = collect::profile(catalogue, &account)?.zone;
            if next == Next::Paid {
                let month = rental.month_count;
                pay(&mut tx, catalogue, (&account, rental, month), now).await?;
            }
            let count = rental.month_count + 1;
            let at = month_start(zone, rental.start_at, count).ok_or(Error::Stored("rental"))?;
            rentals::set_month(&mut tx, rental.rental_id, (count, at)).await?;
        }
    }
    tx.commit().await?;
    ctx.wake.notify_waiters();
    Ok(())
}

/// Asks `plan` what the next month of a rental is, at the instant it begins.
async fn next(ctx: &Ctx, catalogue: &Catalogue, rental: &Rental) -> Result<Next, Error> {
    let (id, at) = (AccountId::from_uuid(rental.root_id), rental.next_at);
    match rental.kind {
        Kind::AddOn => {
            let said = ctx.entitlement(id, &rental.code, at).await?;
            let value = said.entitlement.unwrap_or_default().value;
            let access = Access::read(&value).ok_or(Error::Stored("entitlement of plan"))?;
            Ok(match (access, said.allowed) {
                (Access::AddOn, true) => Next::Paid,
                (Access::AddOn, false) => Next::Over,
                (Access::None | Access::Included, _) => Next::Free,
            })
        }
        Kind::Number => next_of_number(ctx, catalogue, rental).await,
    }
}

/// What the next month of a phone number is, at the instant it begins.
async fn next_of_number(ctx: &Ctx, catalogue: &Catalogue, rental: &Rental) -> Result<Next, Error> {
    let (id, at) = (AccountId::from_uuid(rental.root_id), rental.next_at);
    let account = accounts::get(&mut ctx.db.acquire().await?, rental.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let profile = collect::profile(catalogue, &account)?;
    if profile.charges_rental_when_limited {
        return Ok(Next::Paid);
    }
    for family in &profile.families {
        let in_advance = catalogue
            .families
            .get(family)
            .is_some_and(|it| !it.in_arrears);
        // A limited account keeps its numbers without rent (C-22).
        if in_advance && ctx.plan_at(id, family, at).await?.is_none() {
            return Ok(Next::Free);
        }
    }
    Ok(Next::Paid)
}
