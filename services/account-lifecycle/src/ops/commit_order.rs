//! Carrying out a committed order.

use chassis::{crash_point, is_refusal, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use sqlx::PgConnection;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{CollectionId, InvoiceId, OrderId};

use super::history::{self, Told};
use super::limit;
use super::notify::{self, News};
use super::purchase;
use crate::ctx::Ctx;
use crate::domain::order::{OrderRefused, State};
use crate::error::Error;
use crate::store::orders::{self, End, Order};
use crate::store::{self, Tenant, accounts};

/// Does what is left of a committed order; safe to repeat.
///
/// What was quoted and does not hold any more ends as EXPIRED, what the other services refuse as
/// FAILED. When they are away the order stays as it is, and the error says so.
pub async fn finish(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    // As it stands now: another may have gone on with it.
    let Some(order) = &under_way(ctx, order).await? else {
        return Ok(());
    };
    match order.kind.as_str() {
        "BUY_NUMBER" => {
            carried_out(ctx, order, (purchase::number(ctx, order, now).await, now)).await
        }
        "ADD_ON" => carried_out(ctx, order, (purchase::add_on(ctx, order, now).await, now)).await,
        "REFUND_REQUEST" => {
            carried_out(ctx, order, (purchase::refund(ctx, order, now).await, now)).await
        }
        _ if order.payable().is_empty() => change_plan(ctx, order, now).await,
        _ => pay(ctx, order, now).await,
    }
}

/// Ends an order that is paid from the balance, or gives of it back.
async fn carried_out(
    ctx: &Ctx,
    order: &Order,
    (done, now): (Result<End, Error>, DateTime<Utc>),
) -> Result<(), Error> {
    match done {
        Ok(done) => end(ctx, order, (State::Completed, &done), now).await,
        Err(Error::Peer(status)) => refused(ctx, order, status, now).await,
        Err(error @ (Error::Denied(..) | Error::ResourceExists)) => {
            refused(ctx, order, error.into(), now).await
        }
        Err(error) => Err(error),
    }
}

/// An order as it stands, where it is committed and has not ended.
async fn under_way(ctx: &Ctx, order: &Order) -> Result<Option<Order>, Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    let known = orders::get(&mut tx, order.order_id).await?;
    tx.commit().await?;
    let open = ["COMMITTING", "AWAITING_PAYMENT", "AWAITING_SETTLEMENT"];
    Ok(known.filter(|it| open.contains(&it.state.as_str())))
}

/// Applies a change of plan.
async fn change_plan(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    match ctx.apply_change(order, false).await {
        Ok(segment) => {
            let effective_at = start(&segment);
            let done = End {
                effective_at,
                ..End::default()
            };
            end(ctx, order, (State::Completed, &done), now).await
        }
        Err(status) => refused(ctx, order, status, now).await,
    }
}

/// When a segment begins.
fn start(segment: &plan::Segment) -> Option<DateTime<Utc>> {
    wire::instant("start_time", segment.start_time).ok()
}

/// Whether what was quoted still holds, before anything is paid.
async fn checked(ctx: &Ctx, order: &Order) -> Result<(), Status> {
    if order.family_code.is_empty() {
        return Ok(());
    }
    if !ctx.holds(order).await? {
        return Err(Error::from(OrderRefused::Requote).into());
    }
    Ok(())
}

/// Puts in force what an order has paid for. Money has moved: from here on it only goes forward, and what
/// is refused waits for a person.
async fn put_in_force(
    ctx: &Ctx,
    order: &Order,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    if order.family_code.is_empty() {
        return Ok(now);
    }
    let applied = ctx.apply_change(order, true).await;
    let segment = applied.inspect_err(|status| {
        tracing::error!(order.id = %order.order_id, reason = status.message(), "what is paid for is not in force");
    })?;
    if order.auto_recharge {
        // Without a method that can be charged again there is none; the customer sees that it is off.
        match ctx.recharge_by(order).await {
            Err(status) if !is_refusal(&status) => return Err(status.into()),
            Ok(()) | Err(_) => {}
        }
    }
    crash_point("order.in_force");
    Ok(start(&segment).unwrap_or(now))
}

/// Asks for the payment of an order, or looks how it stands; nothing is credited here (D6).
async fn pay(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    let collection = if let Some(id) = order.collection_id {
        // Whatever is wrong with seeing it, money may have moved: the order stays.
        ctx.collection(CollectionId::from_uuid(id)).await?
    } else {
        // Before it is asked for, and not after: money may have moved.
        if order.state == "COMMITTING" {
            if let Err(status) = checked(ctx, order).await {
                return refused(ctx, order, status, now).await;
            }
            if !asked(ctx, order).await? {
                return Ok(());
            }
            crash_point("order.asked");
        }
        match ctx.collect(order).await {
            Ok(collection) => {
                crash_point("order.collected");
                collection
            }
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
            let effective_at = if paid {
                // Looked at again when that fails.
                set_payment(ctx, order, (State::AwaitingPayment, id)).await?;
                crash_point("order.paid");
                match put_in_force(ctx, order, now).await {
                    Ok(at) => Some(at),
                    // It waits for a person, and is no refusal: its money has moved.
                    Err(Error::Peer(status)) if is_refusal(&status) => return Ok(()),
                    Err(error) => return Err(error),
                }
            } else {
                None
            };
            let done = End {
                effective_at,
                reason: match collection.failure_reason.as_str() {
                    _ if paid => "",
                    // Money has arrived, and is credit now.
                    "SETTLED_AMOUNT_DIFFERS" => "SETTLED_AMOUNT_DIFFERS",
                    _ => "PAYMENT_DECLINED",
                }
                .to_owned(),
                collection_id: Some(id.uuid()),
                invoice_id: invoice.map(InvoiceId::uuid),
                resource_id: None,
            };
            end(ctx, order, (state, &done), now).await
        }
        state @ (State::Quoted
        | State::Confirmed
        | State::Committing
        | State::AwaitingPayment
        | State::AwaitingSettlement
        | State::Expired) => set_payment(ctx, order, (state, id)).await,
    }
}

/// Notes that the payment of an order is asked for; `false` when another has.
async fn asked(ctx: &Ctx, order: &Order) -> Result<bool, Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    let first = orders::set_asked(&mut tx, order.order_id).await?;
    tx.commit().await?;
    Ok(first)
}

/// Notes how the payment of an order stands.
async fn set_payment(
    ctx: &Ctx,
    order: &Order,
    (state, id): (State, CollectionId),
) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    orders::set_payment(&mut tx, order.order_id, state, id.uuid()).await?;
    tx.commit().await?;
    Ok(())
}

/// How an order stands by its collection.
pub fn standing(collection: &billing::Collection) -> State {
    use billing::collection::State as Paid;
    match collection.state() {
        Paid::Succeeded => State::Completed,
        Paid::Declined => State::Failed,
        Paid::AwaitingSettlement => State::AwaitingSettlement,
        Paid::Unspecified | Paid::Pending | Paid::Unknown | Paid::Parked | Paid::Invoiced => {
            State::AwaitingPayment
        }
    }
}

/// Ends an order. The first that is paid makes a trial FULL (D5).
async fn end(
    ctx: &Ctx,
    order: &Order,
    (state, how): (State, &End),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let upgrade = state == State::Completed && order.kind == "UPGRADE";
    let invoice = match how.invoice_id.map(InvoiceId::from_uuid) {
        Some(id) if upgrade => Some(ctx.invoice(id).await?),
        Some(_) | None => None,
    };
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    let ended = orders::end(&mut tx, order.order_id, state, how, now).await?;
    if ended
        && state == State::Completed
        && matches!(order.kind.as_str(), "BUY_CREDITS" | "UPGRADE")
    {
        upgraded(&mut tx, order, how.effective_at.unwrap_or(now)).await?;
        if upgrade {
            let invoice = how.invoice_id.zip(invoice.map(|it| it.number));
            confirmed(&mut tx, order, invoice, now).await?;
        }
    }
    tx.commit().await?;
    crash_point("order.ended");
    ctx.wake.notify_waiters();
    Ok(())
}

/// Tells whoever gets the invoices of an upgrade, with its invoice (REQ-109).
async fn confirmed(
    db: &mut PgConnection,
    order: &Order,
    invoice: Option<(Uuid, String)>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (invoice, number) = invoice.unzip();
    let account = accounts::get(db, order.root_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    let mut facts = vec![("plan", order.to_plan_code.clone())];
    if let Some(number) = number {
        facts.push(("invoice_number", number));
    }
    for line in order.in_words() {
        facts.push(("line", line));
    }
    if let Some(total) = order.total() {
        facts.push(("total", format!("{} {}", total.currency_code, total.amount)));
    }
    let news = News {
        kind: "UPGRADED",
        event: format!("upgraded {}", OrderId::from_uuid(order.order_id)),
        facts,
        invoice,
    };
    notify::owner(db, &account, &news, now).await
}

/// Makes an account FULL that has bought for the first time (D5), and lifts its limit where it has bought a
/// plan, or was limited as a trial (REQ-131).
async fn upgraded(db: &mut PgConnection, order: &Order, at: DateTime<Utc>) -> Result<(), Error> {
    let root = order.root_id;
    accounts::lock(db, root).await?;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let trial = account.r#type == "TRIAL";
    if !trial && order.kind != "UPGRADE" {
        return Ok(());
    }
    // One that is to come is of a later cancellation, and stays.
    let limit = account
        .limited_at
        .filter(|from| *from <= at || account.limit_reason == "TRIAL_EXPIRED");
    if let Some(from) = limit {
        limit::lifted(db, (root, from), &order.actor, at).await?;
        accounts::set_limit(db, root, None).await?;
    }
    if trial {
        let told = Told {
            state: "TYPE",
            name: "UPGRADED",
            change: ("TRIAL", "FULL"),
            actor: &order.actor,
            reason: "",
            resource: "",
        };
        history::tell(db, (root, root), &told, at).await?;
    }
    Ok(accounts::set_full(db, root, at).await?)
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
    } else if is_refusal(&status) {
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
