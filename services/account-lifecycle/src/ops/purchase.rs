//! Fulfilment of orders that need no payment: a number or an add-on, charged to the balance, and a refund; and the rental
//! of what an account keeps from its trial.
//!
//! The purchase is recorded first and charged second; if `billing` refuses the charge, the purchase is undone.

use chassis::{crash_point, is_refusal};
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use proto::r#type::v1::Money;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use uuid::Uuid;
use values::{AccountId, RentalId, ResourceId};

use super::authorize::{Asked, answer, number_kinds};
use crate::clients::KeptNumber;
use crate::ctx::Ctx;
use crate::domain::account::Account;
use crate::domain::capability::{Capability, Denial};
use crate::domain::order::Order;
use crate::error::Error;
use crate::store::orders::End;
use crate::store::resources::{self, Rented, Resource};
use crate::store::{Tenant, accounts};

/// Assigns a number to the account and starts its rental, which charges the first month.
pub async fn number(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<End, Error> {
    held(ctx, order, now).await?;
    crash_point("number.held");
    if !order.is_priced() {
        return Ok(done(order, now));
    }
    let rental = rental(order, billing::rental::Kind::Number);
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
async fn held(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    let id = AccountId::from_uuid(order.account_id);
    let kind = order.item("kind");
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
        capability: if kind == "TRIAL_NUMBER" {
            Capability::BuyTrialNumber
        } else {
            Capability::BuyProductionNumber
        },
        target: None,
        at: None,
    };
    let said = answer(ctx, &account, &asked, now).await?;
    if let Some(denial) = said.denial {
        return Err(Error::Denied(id, denial));
    }
    let number = match order.item("number") {
        "" => format!("PN{}", order.order_id.simple()),
        wanted => wanted.to_owned(),
    };
    let document = order.item.to_string();
    let resource = Resource {
        root_id: order.root_id,
        account_id: order.account_id,
        resource_id: order.order_id,
        kind_code: kind.to_owned(),
        sid: number,
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
pub async fn add_on(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<End, Error> {
    let account = AccountId::from_uuid(order.account_id);
    let code = order.item("code");
    ctx.add_add_on(account, code, order.order_id).await?;
    let rental = rental(order, billing::rental::Kind::AddOn);
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
pub async fn refund(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<End, Error> {
    ctx.refund(order).await?;
    Ok(End {
        effective_at: Some(now),
        ..End::default()
    })
}

/// The rental of an order: its id is the order's, its price the quoted one.
fn rental(order: &Order, kind: billing::rental::Kind) -> billing::Rental {
    let line = order.lines.as_array().and_then(|lines| lines.first());
    let text = |key: &str| {
        let text = line.and_then(|it| it.get(key)).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    billing::Rental {
        rental_id: RentalId::from_uuid(order.order_id).to_string(),
        kind: kind.into(),
        code: order.item("code").to_owned(),
        monthly_price: Some(proto::r#type::v1::Amount {
            currency_code: text("currency"),
            amount: text("amount"),
        }),
        ..billing::Rental::default()
    }
}

/// The numbers that an account holds from its trial at an instant and has to rent once it has a plan, each with its
/// monthly price: as `lines` of an order say, else as in the catalogue. One whose type has no price is not rented.
pub async fn kept_numbers(
    ctx: &Ctx,
    account: &Account,
    lines: &Value,
    at: DateTime<Utc>,
) -> Result<Vec<KeptNumber>, Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let held = resources::of_trial(&mut tx, account.root_id, at).await?;
    tx.commit().await?;
    if held.is_empty() {
        return Ok(Vec::new());
    }
    let prices = ctx.number_rentals(&account.currency).await?;
    let kept = held.into_iter().filter_map(|it| {
        let code = it.item.get("code").and_then(Value::as_str)?;
        let quoted = quoted_price(lines, it.resource_id);
        Some(KeptNumber {
            resource_id: it.resource_id,
            code: code.to_owned(),
            price: quoted.or_else(|| prices.get(code).cloned())?,
        })
    });
    Ok(kept.collect())
}

/// The monthly price of a kept number as an order quotes it.
fn quoted_price(lines: &Value, resource: Uuid) -> Option<Money> {
    let resource = ResourceId::from_uuid(resource).to_string();
    let lines = lines.as_array()?;
    let of =
        |line: &&Value| line.get("resource").and_then(Value::as_str) == Some(resource.as_str());
    let line = lines.iter().find(of)?;
    Some(Money {
        currency_code: line.get("currency")?.as_str()?.to_owned(),
        amount: line.get("amount")?.as_str()?.to_owned(),
    })
}

/// The line of an upgrade's quote that tells of a kept number. Its first month is taken from the balance and is no part
/// of what is paid at the commit.
pub fn kept_line(kept: &KeptNumber) -> Value {
    json!({"description": format!("{} number of the trial: monthly, from the balance", kept.code),
           "amount": kept.price.amount, "currency": kept.price.currency_code, "kind": "RENTAL", "estimated": true,
           "resource": ResourceId::from_uuid(kept.resource_id).to_string()})
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
        match ctx.start_kept_rental(root, &kept).await {
            Ok(()) => {}
            // The plan is paid and in force. An account that is being closed, for example, rents nothing any more.
            Err(status) if is_refusal(&status) => {
                tracing::warn!(order.id = %order.order_id, resource.id = %kept.resource_id, reason = status.message(), "the rental of a trial's number was refused; the number stays without one");
                continue;
            }
            Err(status) => return Err(status.into()),
        }
        crash_point("upgrade.rented");
        let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
        resources::set_rented(&mut tx, kept.resource_id).await?;
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
