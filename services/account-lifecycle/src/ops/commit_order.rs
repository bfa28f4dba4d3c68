//! Carrying out a committed order.

use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use values::{CollectionId, InvoiceId};

use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::error::Error;
use crate::store::orders::{self, End, Order};
use crate::store::{self, Tenant, accounts};

/// What another service answers to what it will not do.
const REFUSALS: [Code; 4] = [
    Code::FailedPrecondition,
    Code::NotFound,
    Code::AlreadyExists,
    Code::InvalidArgument,
];

/// Does what is left of a committed order; safe to repeat.
///
/// What was quoted and does not hold any more ends as EXPIRED, what the other services refuse as
/// FAILED. When they are away the order stays as it is, and the error says so.
pub async fn finish(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    if order.kind == "BUY_CREDITS" {
        pay(ctx, order, now).await
    } else {
        change_plan(ctx, order, now).await
    }
}

/// Applies a change of plan.
async fn change_plan(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    match ctx.apply_change(order).await {
        Ok(segment) => {
            let effective_at = segment
                .start_time
                .and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?));
            let done = End {
                effective_at,
                ..End::default()
            };
            end(ctx, order, (State::Completed, &done), now).await
        }
        Err(status) => refused(ctx, order, status, now).await,
    }
}

/// Asks for the payment of an order, or looks how it stands; nothing is credited here (D6).
async fn pay(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    let collection = if let Some(id) = order.collection_id {
        // Whatever is wrong with seeing it, money may have moved: the order stays.
        ctx.collection(CollectionId::from_uuid(id)).await?
    } else {
        match ctx.collect(order).await {
            Ok(collection) => collection,
            Err(status) => return refused(ctx, order, status, now).await,
        }
    };
    let id: CollectionId = collection
        .collection_id
        .parse()
        .map_err(|_| Error::Stored("collection"))?;
    match standing(&collection) {
        state @ (State::Completed | State::Failed) => {
            let invoice: Option<InvoiceId> = collection.invoice_id.parse().ok();
            let paid = state == State::Completed;
            let done = End {
                effective_at: paid.then_some(now),
                reason: match collection.failure_reason.as_str() {
                    _ if paid => "",
                    // Money has arrived, and is credit now.
                    "SETTLED_AMOUNT_DIFFERS" => "SETTLED_AMOUNT_DIFFERS",
                    _ => "PAYMENT_DECLINED",
                }
                .to_owned(),
                collection_id: Some(id.uuid()),
                invoice_id: invoice.map(InvoiceId::uuid),
            };
            end(ctx, order, (state, &done), now).await
        }
        state @ (State::Quoted
        | State::Confirmed
        | State::Committing
        | State::AwaitingPayment
        | State::AwaitingSettlement
        | State::Expired) => {
            let mut tx = ctx.db.begin().await?;
            store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
            orders::set_payment(&mut tx, order.order_id, state, id.uuid()).await?;
            tx.commit().await?;
            Ok(())
        }
    }
}

/// How an order stands by its collection.
pub fn standing(collection: &billing::Collection) -> State {
    use billing::collection::State as Paid;
    match collection.state() {
        Paid::Succeeded => State::Completed,
        Paid::Declined => State::Failed,
        Paid::AwaitingSettlement => State::AwaitingSettlement,
        Paid::Unspecified | Paid::Pending | Paid::Unknown | Paid::Parked => State::AwaitingPayment,
    }
}

/// Ends an order. The first that is paid makes a trial FULL (D5).
async fn end(
    ctx: &Ctx,
    order: &Order,
    (state, how): (State, &End),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    let ended = orders::end(&mut tx, order.order_id, state, how, now).await?;
    if ended && state == State::Completed && order.kind == "BUY_CREDITS" {
        accounts::set_full(&mut tx, order.root_id).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Ends an order that another service refused; anything else that went wrong leaves it as it is.
async fn refused(
    ctx: &Ctx,
    order: &Order,
    status: Status,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    let state = if status.code() == Code::Aborted && reason == "REQUOTE" {
        State::Expired
    } else if REFUSALS.contains(&status.code()) {
        State::Failed
    } else {
        return Err(Error::Peer(status));
    };
    let how = End {
        reason,
        ..End::default()
    };
    end(ctx, order, (state, &how), now).await?;
    Err(Error::Peer(status))
}
