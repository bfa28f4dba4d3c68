//! Fulfilment of orders that need no payment: a number or an add-on, charged to the balance, and a refund; and the rental
//! of what an account keeps from its trial.
//!
//! The purchase is recorded first and charged second; if `billing` refuses the charge, the purchase is undone.

use chassis::{crash_point, is_refusal, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use sha2::{Digest as _, Sha256};
use tonic::Status;
use values::{AccountId, RentalId, ResourceId};

use super::authorize::{Asked, answer, number_kinds};
use crate::ctx::Ctx;
use crate::domain::account::Account;
use crate::domain::capability::{Capability, Denial};
use crate::domain::order::Order;
use crate::domain::purchase::{KeptNumber, Line, Number, NumberKind, Refund, quoted_price};
use crate::error::Error;
use crate::store::orders::End;
use crate::store::resources::{self, Rented, Resource};
use crate::store::{Tenant, accounts};

/// Assigns a number to the account and starts its rental, which charges the first month.
pub async fn number(
    ctx: &Ctx,
    order: &Order,
    number: &Number,
    now: DateTime<Utc>,
) -> Result<End, Error> {
    held(ctx, order, number, now).await?;
    crash_point("number.held");
    if !order.is_priced() {
        return Ok(done(order, now));
    }
    let rental = rental(order, billing::rental::Kind::Number, &number.code)?;
    if let Err(status) = ctx.start_rental(order, rental).await {
        if is_refusal(&status) {
            let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
            resources::give_up(&mut tx, order.order_id).await?;
            tx.commit().await?;
        }
        return Err(status.into());
    }
    crash_point("number.rented");
    Ok(done(order, now))
}

fn done(order: &Order, now: DateTime<Utc>) -> End {
    End {
        effective_at: Some(now),
        resource_id: Some(order.order_id),
        ..End::default()
    }
}

/// Assigns the number to the account, within its quota. The resource takes the order's id, so that a retry adds no
/// second one.
async fn held(ctx: &Ctx, order: &Order, number: &Number, now: DateTime<Utc>) -> Result<(), Error> {
    let id = AccountId::from_uuid(order.account_id);
    let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
    let known = resources::is_known(&mut tx, order.order_id).await?;
    let account = accounts::get(&mut tx, order.account_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    tx.commit().await?;
    // This also holds if the number has been released since: its first month is charged once.
    if known {
        return Ok(());
    }
    let asked = Asked {
        capability: match number.kind {
            NumberKind::Trial => Capability::BuyTrialNumber,
            NumberKind::Production => Capability::BuyProductionNumber,
        },
        target: None,
        at: None,
    };
    let said = answer(ctx, &account, &asked, now).await?;
    if let Some(denial) = said.denial {
        return Err(Error::Denied(id, denial));
    }
    let sid = match number.number.as_str() {
        "" => format!("PN{}", order.order_id.simple()),
        wanted => wanted.to_owned(),
    };
    let document = order.purchase.item();
    let document = document.map_err(|_| Error::Stored("item of an order"))?;
    let document = document.to_string();
    let resource = Resource {
        root_id: order.root_id,
        account_id: order.account_id,
        resource_id: order.order_id,
        kind_code: number.kind.as_str().to_owned(),
        sid,
        display_name: String::new(),
        digest: Sha256::digest(&document).to_vec(),
        document,
        created_at: now,
        released_at: None,
        rented: order.is_priced(),
    };
    let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
    // Counted under the lock, so that two concurrent orders can't both take the last number of the quota.
    accounts::lock(&mut tx, order.root_id).await?;
    let account = accounts::get(&mut tx, order.account_id).await?;
    if account.is_none_or(|it| it.closed_at.is_some()) {
        return Err(Error::Denied(id, Denial::AccountClosed));
    }
    if let Ok(quota) = said.value.parse::<i64>() {
        let kinds = number_kinds();
        if quota <= resources::count(&mut tx, (order.root_id, &kinds), now).await? {
            return Err(Error::Denied(id, Denial::OverQuota));
        }
    }
    if !resources::insert(&mut tx, &resource).await? {
        return Err(Error::ResourceExists);
    }
    tx.commit().await?;
    Ok(())
}

/// Adds an add-on and charges its first month.
pub async fn add_on(
    ctx: &Ctx,
    order: &Order,
    code: &str,
    now: DateTime<Utc>,
) -> Result<End, Error> {
    let account = AccountId::from_uuid(order.account_id);
    let rental = rental(order, billing::rental::Kind::AddOn, code)?;
    ctx.add_add_on(account, code, order.order_id).await?;
    if let Err(status) = ctx.start_rental(order, rental).await {
        if is_refusal(&status) {
            ctx.remove_add_on(account, code, order.order_id).await?;
        }
        return Err(status.into());
    }
    Ok(End {
        effective_at: Some(now),
        ..End::default()
    })
}

/// Refunds credit as quoted.
pub async fn refund(
    ctx: &Ctx,
    order: &Order,
    refund: &Refund,
    now: DateTime<Utc>,
) -> Result<End, Error> {
    ctx.refund(order, refund).await?;
    Ok(End {
        effective_at: Some(now),
        ..End::default()
    })
}

/// The rental of an order: its id is the order's, its price the quoted one.
fn rental(
    order: &Order,
    kind: billing::rental::Kind,
    code: &str,
) -> Result<billing::Rental, Error> {
    let line = order.lines.first();
    let price = line.ok_or(Error::Stored("lines of an order"))?.money;
    Ok(billing::Rental {
        rental_id: RentalId::from_uuid(order.order_id).to_string(),
        kind: kind.into(),
        code: code.to_owned(),
        monthly_price: Some(proto::r#type::v1::Amount {
            currency_code: price.currency().code().to_owned(),
            amount: price.to_string(),
        }),
        ..billing::Rental::default()
    })
}

/// The numbers that an account holds from its trial at an instant and has to rent once it has a plan, each with its
/// monthly price: as `lines` of an order say, else as in the catalogue. One whose type has no price is not rented.
pub async fn kept_numbers(
    ctx: &Ctx,
    account: &Account,
    lines: &[Line],
    at: DateTime<Utc>,
) -> Result<Vec<KeptNumber>, Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let held = resources::of_trial(&mut tx, account.root_id, at).await?;
    tx.commit().await?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let prices = ctx.number_rentals(&account.currency).await?;
    let mut kept = Vec::with_capacity(held.len());
    for it in held {
        let id = ResourceId::from_uuid(it.resource_id);
        let price = match (quoted_price(lines, id), prices.get(&it.code)) {
            (Some(quoted), _) => quoted,
            (None, Some(listed)) => wire::money("monthly_price", Some(listed))
                .map_err(|_| Error::Stored("price of a number"))?,
            (None, None) => continue,
        };
        kept.push(KeptNumber {
            id,
            code: it.code,
            price,
        });
    }
    Ok(kept)
}

/// Starts the rental of the numbers that an account held from its trial when its plan began, at `at` (REQ-170); safe to
/// repeat.
///
/// The instant does not depend on when this runs, so a repetition finds the same numbers. Each is marked as rented once
/// its rental has begun: one that is released in between is then given back like any other.
pub async fn rent_kept_numbers(ctx: &Ctx, order: &Order, at: DateTime<Utc>) -> Result<(), Error> {
    let root = order.root_id;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let account = accounts::get(&mut tx, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    tx.commit().await?;
    for kept in kept_numbers(ctx, &account, &order.lines, at).await? {
        match ctx.start_kept_rental(order, &kept).await {
            Ok(()) => {}
            // The plan is paid and in force. An account that is being closed, for example, rents nothing any more.
            Err(status) if is_refusal(&status) => {
                tracing::warn!(order.id = %order.order_id, resource.id = %kept.id, reason = status.message(), "the rental of a trial's number was refused; the number stays without one");
                continue;
            }
            Err(status) => return Err(status.into()),
        }
        crash_point("upgrade.rented");
        let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
        resources::set_rented(&mut tx, kept.id.uuid()).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Ends the rental of a released resource.
pub async fn give_back(ctx: &Ctx, it: Rented) -> Result<(), Error> {
    ended(ctx.end_rental(it.root_id, it.resource_id).await)?;
    let mut tx = ctx.db.begin_as(Tenant::Root(it.root_id)).await?;
    resources::set_given_back(&mut tx, it.resource_id).await?;
    tx.commit().await?;
    Ok(())
}

/// An unknown rental never began, so there is nothing to end.
fn ended(answer: Result<(), Status>) -> Result<(), Status> {
    match answer {
        Err(status) if status.code() == tonic::Code::NotFound && is_refusal(&status) => Ok(()),
        other => other,
    }
}
