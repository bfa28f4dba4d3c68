//! Sending a movement to its provider and storing the answer. The intent is stored before the request, the answer
//! afterwards in a transaction of its own (R1).

use std::time::Duration;

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::domain::movement::{Answer, Change, Kind, State, after};
use crate::domain::token::Token;
use crate::error::Error;
use crate::providers::{ChargeOrder, RefundOrder};
use crate::store::movements::{self, Movement};
use crate::store::{Tenant, methods, outbox};

/// Time limit for an answer of the provider; after it the outcome is unknown.
pub const PATIENCE: Duration = Duration::from_secs(8);

/// A request to a provider.
enum Order {
    Charge(ChargeOrder),
    Refund(RefundOrder),
}

/// Sends a movement that has not been sent yet; returns without sending if another worker has claimed it.
pub async fn send(ctx: &Ctx, root: Uuid, id: Uuid) -> Result<(), Error> {
    let lease = (Uuid::new_v4(), ctx.lease_seconds);
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let written = movements::get(&mut tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    // A process without this provider leaves the movement to one that has it.
    ctx.asked(&written)?;
    if !movements::begin_sending(&mut tx, root, id, lease).await? {
        tx.rollback().await?;
        return sent_by_another(ctx, root, id).await;
    }
    let movement = movements::get(&mut tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    let order = order(&mut tx, &movement).await?;
    tx.commit().await?;
    let answer = answer(ctx, &movement, &order).await?;
    keep(ctx, root, id, (answer, Some(lease.0))).await?;
    Ok(())
}

/// Waits until the worker that sends a movement has stored an answer, but no longer than an answer may take.
async fn sent_by_another(ctx: &Ctx, root: Uuid, id: Uuid) -> Result<(), Error> {
    const EVERY: Duration = Duration::from_millis(25);
    let waiting = async {
        loop {
            let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
            let movement = movements::get(&mut tx, root, id).await?;
            tx.commit().await?;
            let state = movement.ok_or(Error::Stored("movement"))?.state;
            if !matches!(state, State::Created | State::Sending) {
                return Ok(());
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or(Ok(()))
}

/// Asks for a movement once more with the same reference: its provider takes both for one. Gives what came of it, and
/// whether it was answered.
///
/// That this request did not leave us, or was refused, tells nothing of the one before: what that came
/// to, the provider's book tells.
pub async fn again(ctx: &Ctx, movement: &Movement) -> Result<(Answer, bool), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(movement.root_id)).await?;
    movements::ask_again(&mut tx, movement.root_id, movement.movement_id).await?;
    let order = order(&mut tx, movement).await?;
    tx.commit().await?;
    let answer = answer(ctx, movement, &order).await?;
    let answered = !matches!(answer, Answer::NotSent | Answer::Unknown);
    let kept = if matches!(answer, Answer::NotSent | Answer::Refused { .. }) {
        Answer::Unknown
    } else {
        answer
    };
    Ok((kept, answered))
}

async fn order(db: &mut PgConnection, movement: &Movement) -> Result<Order, Error> {
    let asked = movement.asked().ok_or(Error::Stored("currency"))?;
    if movement.kind == Kind::Refund {
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
    let provider = ctx.asked(movement)?;
    let asking = match order {
        Order::Charge(order) => provider.charge(order),
        Order::Refund(order) => provider.refund(order),
    };
    let answered = tokio::time::timeout(PATIENCE, asking).await;
    Ok(answered.unwrap_or(Answer::Unknown))
}

/// Stores a provider's answer to a movement, either for the holder of a lease or for nobody in particular. Returns
/// whether it changed the movement.
pub async fn keep(
    ctx: &Ctx,
    root: Uuid,
    id: Uuid,
    (answer, lease): (Answer, Option<Uuid>),
) -> Result<bool, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let movement = movements::lock(&mut tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    let asked = movement.asked().ok_or(Error::Stored("currency"))?;
    // A worker that lost its lease can't know whether another has sent a request in the meantime.
    let answer = if answer == Answer::NotSent && movement.lease_token != lease {
        Answer::Unknown
    } else {
        answer
    };
    let overturns = contradicts(movement.state, &answer) && movement.overturned_at.is_none();
    if overturns {
        tracing::error!(movement.id = %id, state = movement.state.as_str(), ?answer, "the provider's book contradicts a terminal state");
        overturn(&mut tx, &movement, now).await?;
    }
    let change = after(movement.state, asked, answer);
    let changes = overturns || change.is_some();
    if let Some(change) = change {
        set(&mut tx, &movement, &change, now).await?;
        if let Some(reason) = change.parked_reason {
            tracing::error!(movement.id = %id, reason = reason.as_str(), "a movement was parked, as the provider's book differs from the request; resolve it with ResolveMovement");
        }
    }
    tx.commit().await?;
    if changes {
        ctx.wake.notify_waiters();
    }
    Ok(changes)
}

/// Records that the provider's book contradicts a terminal state, for consumers that have acted on it. A refund that
/// was returned releases its reservation on the charge.
async fn overturn(
    db: &mut PgConnection,
    movement: &Movement,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    movements::set_overturned(db, movement.movement_id, Some(now), now).await?;
    if let Some(settled) = movement.settled_minor
        && movement.gives_back_a_charge()
    {
        let (root, charge) = (movement.root_id, movement.subject_id);
        if !movements::reserve(db, root, charge, -settled).await? {
            return Err(Error::Stored("refunds of a charge"));
        }
    }
    outbox::insert(db, movement.root_id, movement.movement_id).await?;
    Ok(())
}

/// Records that an operator has returned the money which a refused charge had moved after all.
pub async fn given_back(
    db: &mut PgConnection,
    movement: &Movement,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    movements::set_overturned(db, movement.movement_id, None, now).await?;
    outbox::insert(db, movement.root_id, movement.movement_id).await?;
    Ok(())
}

/// Whether an answer contradicts a terminal state.
const fn contradicts(state: State, answer: &Answer) -> bool {
    match answer {
        Answer::Moved { .. } => state.is_refused(),
        Answer::Refused { .. } => matches!(state, State::Succeeded),
        Answer::Pending { .. } | Answer::NotSent | Answer::Absent | Answer::Unknown => false,
    }
}

/// Applies a change to a movement, which the caller has locked. A refused refund releases its reservation on the
/// charge.
pub async fn set(
    db: &mut PgConnection,
    movement: &Movement,
    change: &Change,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    movements::set(db, movement.movement_id, change, now).await?;
    if movement.gives_back_a_charge() {
        // The reservation is adjusted to the amount that moved: all of it, none, or the provider's figure.
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
