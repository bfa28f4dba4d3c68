//! What is rented by the month: each month is paid from the balance at its start.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::AccountId;

use super::collect;
use super::spend::{self, Bill, Spending};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::{self, Account};
use crate::store::closings;
use crate::store::ledger::{self, Entries, LedgerAccount};
use crate::store::rentals::{self, Rental};

/// What becomes of a rental when another month of it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It is paid for.
    Paid,
    /// It costs nothing.
    Free,
    /// It is not rented any more.
    Over,
}

/// Pays the month of a rental that has the number `month`, from 0; the balance is locked.
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
    // A month is paid once: its entries' ids are its own.
    let id = |place: u16| {
        let name = format!("month {month} entry {place}");
        Uuid::new_v5(&rental.rental_id, name.as_bytes())
    };
    spending.pay(&bill, purse.unwrap_or_default(), &mut entries, id)?;
    entries.copy(db).await?;
    spending.flush(db).await
}

/// Begins the next month of a rental whose time has come.
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
    // As it was found: nobody else has begun the month meanwhile.
    if known.as_ref() != Some(rental) {
        return Ok(());
    }
    let root = rental.root_id;
    let closing = closings::stands(&mut tx, root).await?;
    match next {
        Next::Over => rentals::end(&mut tx, (root, Some(rental.rental_id)), rental.next_at).await?,
        // It ends with its account, which owes nothing more for it; or goes on when the closing is given up.
        Next::Paid | Next::Free if closing => rentals::put_off(&mut tx, rental.rental_id).await?,
        Next::Paid | Next::Free => {
            if next == Next::Paid {
                let account = accounts::get(&mut tx, root)
                    .await?
                    .ok_or(Error::Stored("account"))?;
                let month = rental.month_count;
                pay(&mut tx, catalogue, (&account, rental, month), now).await?;
            }
            let count = rental.month_count + 1;
            let at = Rental::month(rental.start_at, count).ok_or(Error::Stored("rental"))?;
            rentals::set_month(&mut tx, rental.rental_id, (count, at)).await?;
        }
    }
    tx.commit().await?;
    ctx.wake.notify_waiters();
    Ok(())
}

/// What becomes of a rental, as `plan` says of the instant at which its month begins.
async fn next(ctx: &Ctx, catalogue: &Catalogue, rental: &Rental) -> Result<Next, Error> {
    let (id, at) = (AccountId::from_uuid(rental.root_id), rental.next_at);
    if rental.kind == "ADD_ON" {
        let said = ctx.entitlement(id, &rental.code, at).await?;
        let value = said.entitlement.unwrap_or_default().value;
        return Ok(match (value.as_str(), said.allowed) {
            ("ADDON", true) => Next::Paid,
            ("ADDON", false) => Next::Over,
            _ => Next::Free,
        });
    }
    let account = accounts::get(&mut *ctx.db.acquire().await?, rental.root_id)
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
        // Limited: held without rental (C-22).
        if in_advance && ctx.plan_at(id, family, at).await?.is_none() {
            return Ok(Next::Free);
        }
    }
    Ok(Next::Paid)
}
