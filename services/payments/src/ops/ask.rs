//! Asking a provider, and keeping what it says: the intent is written down before, the answer in a
//! transaction of its own after (R1).

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::domain::movement::{Answer, Change, after};
use crate::domain::token::Token;
use crate::error::Error;
use crate::providers::{ChargeOrder, RefundOrder};
use crate::store::movements::{self, Movement};
use crate::store::{Tenant, enter, methods, outbox};

/// How long a provider is waited for; then nobody knows.
const PATIENCE: Duration = Duration::from_secs(8);

/// What is asked of a provider.
enum Order {
    Charge(ChargeOrder),
    Refund(RefundOrder),
}

/// Sends a movement that was written down and not sent yet; one that was sent stays as it is.
pub async fn send(ctx: &Ctx, root: Uuid, id: Uuid) -> Result<(), Error> {
    let lease = (Uuid::new_v4(), ctx.lease_seconds);
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::Root(root)).await?;
    if !movements::begin_sending(&mut tx, root, id, lease).await? {
        return Ok(());
    }
    let movement = movements::get(&mut tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    let order = order(&mut tx, &movement).await?;
    tx.commit().await?;
    let answer = answer(ctx, &movement, &order).await?;
    keep(ctx, root, id, answer).await
}

/// Asks for a movement once more with the same reference: its provider takes both for one.
pub async fn again(ctx: &Ctx, movement: &Movement) -> Result<Answer, Error> {
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::Root(movement.root_id)).await?;
    let order = order(&mut tx, movement).await?;
    tx.commit().await?;
    answer(ctx, movement, &order).await
}

async fn order(db: &mut PgConnection, movement: &Movement) -> Result<Order, Error> {
    let asked = movement.asked().ok_or(Error::Stored("currency"))?;
    if movement.kind == "REFUND" {
        let charge = movements::get(db, movement.root_id, movement.subject_id)
            .await?
            .ok_or(Error::Stored("charge of a refund"))?;
        return Ok(Order::Refund(RefundOrder {
            reference: asked.reference,
            charge_reference: charge.provider_key,
            charge_id: charge.provider_id,
            money: asked.money,
        }));
    }
    let method = methods::get(db, movement.root_id, movement.method_id)
        .await?
        .ok_or(Error::Stored("method of a charge"))?;
    let token = Token::parse(&method.provider_token).map_err(|_| Error::Stored("token"))?;
    Ok(Order::Charge(ChargeOrder {
        reference: asked.reference,
        token,
        money: asked.money,
        unattended: movement.unattended,
        return_url: movement.return_url.clone(),
    }))
}

async fn answer(ctx: &Ctx, movement: &Movement, order: &Order) -> Result<Answer, Error> {
    let provider = ctx.provider(&movement.provider_code)?;
    let asking = match order {
        Order::Charge(order) => provider.charge(order),
        Order::Refund(order) => provider.refund(order),
    };
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    Ok(answered.unwrap_or(Answer::Unknown))
}

/// Keeps what a provider said of a movement.
pub async fn keep(ctx: &Ctx, root: Uuid, id: Uuid, answer: Answer) -> Result<(), Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::Root(root)).await?;
    let movement = movements::lock(&mut tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    let asked = movement.asked().ok_or(Error::Stored("currency"))?;
    if let Some(change) = after(movement.state, asked, answer) {
        set(&mut tx, &movement, &change, now).await?;
        if !change.parked_reason.is_empty() {
            tracing::error!(movement.id = %id, reason = change.parked_reason, "a movement is parked: the provider's book differs from what was asked for");
        }
    }
    tx.commit().await?;
    ctx.wake.notify_waiters();
    Ok(())
}

/// Changes a movement that is locked; what a refused refund had set aside is given back.
pub async fn set(
    db: &mut PgConnection,
    movement: &Movement,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    movements::set(db, movement.movement_id, change, now).await?;
    if movement.kind == "REFUND" {
        // What was set aside becomes what has moved: all of it, none, or what the book says.
        let moved = change.settled.map_or(0, |(money, _)| money.minor());
        let less = if change.state.is_final() {
            moved.saturating_sub(movement.amount_minor)
        } else {
            0
        };
        let charge = movement.subject_id;
        if less != 0 && !movements::reserve(db, movement.root_id, charge, less).await? {
            return Err(Error::RefundExceedsCharge(values::ChargeId::from_uuid(
                charge,
            )));
        }
    }
    outbox::insert(db, movement.root_id, movement.movement_id).await?;
    Ok(())
}
