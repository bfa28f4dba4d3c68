//! Fulfilment of a committed order.

use chassis::{PgConnection, crash_point, is_refusal, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use proto::plan::v1 as plan;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{CollectionId, InvoiceId, OrderId};

use super::history::{self, Told};
use super::limit;
use super::notify::{self, News};
use super::{purchase, tell_standing};
use crate::clients::passes;
use crate::ctx::Ctx;
use crate::domain::account::{AccountType, LimitReason};
use crate::domain::notice::Kind;
use crate::domain::order::{Event, OrderKind, OrderRefused, State, after};
use crate::domain::purchase::Purchase;
use crate::error::Error;
use crate::store::orders::{self, End, Order};
use crate::store::{Tenant, accounts};

/// Failure reason of a collection whose order was cancelled.
const WITHDRAWN: &str = "WITHDRAWN";

/// How a committed order is to end.
#[derive(Debug)]
pub struct Ending {
    /// Where it stands then.
    state: State,
    /// What is kept of it.
    how: End,
    /// The number of the invoice of an upgrade.
    number: Option<String>,
    /// What another service said, where it refused.
    pub refused: Option<Status>,
}

impl Ending {
    /// What an event that ends a committed order makes of it, without a refusal.
    fn by(event: Event, order: &Order, how: End) -> Result<Self, Error> {
        let state = after(order.state, event).ok_or(OrderRefused::NotOpen)?;
        Ok(Self {
            state,
            how,
            number: None,
            refused: None,
        })
    }

    /// Whether what was bought makes a trial FULL, or lifts a limit (D5): then the account changes with its order.
    fn upgrades(&self, order: &Order) -> bool {
        let buys = match order.kind() {
            OrderKind::BuyCredits | OrderKind::Upgrade => true,
            OrderKind::PlanChange
            | OrderKind::BuyNumber
            | OrderKind::AddOn
            | OrderKind::RefundRequest
            | OrderKind::PayRenewal
            | OrderKind::PayInvoice => false,
        };
        buys && self.state == State::Completed
    }
}

/// Does what is left of a committed order and ends it; safe to repeat.
///
/// An order whose quote no longer holds ends as `EXPIRED`; one that another service refuses ends as `FAILED`. If a
/// service is unavailable, the order stays as it is and the error is returned.
pub async fn finish(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    // Reads the order again, since another worker may have continued it.
    let Some(order) = &under_way(ctx, order).await? else {
        return Ok(());
    };
    match carry_out(ctx, order, now).await? {
        Some(ending) => end(ctx, order, &ending, now).await,
        None => Ok(()),
    }
}

/// Does what is left of a committed order, as it stands now, but for its end; `None` while it waits for its payment.
pub async fn carry_out(
    ctx: &Ctx,
    order: &Order,
    now: DateTime<Utc>,
) -> Result<Option<Ending>, Error> {
    let ending = match &order.purchase {
        Purchase::BuyNumber(number) => {
            let done = purchase::number(ctx, order, number, now).await;
            Some(carried_out(order, done)?)
        }
        Purchase::AddOn { code } => {
            let done = purchase::add_on(ctx, order, code, now).await;
            Some(carried_out(order, done)?)
        }
        Purchase::RefundRequest(refund) => {
            let done = purchase::refund(ctx, order, refund, now).await;
            Some(carried_out(order, done)?)
        }
        Purchase::PlanChange { .. }
        | Purchase::BuyCredits {}
        | Purchase::Upgrade { .. }
        | Purchase::PayRenewal { .. }
        | Purchase::PayInvoice { .. } => {
            if order.payable().is_empty() {
                Some(change_plan(ctx, order).await?)
            } else {
                pay(ctx, order, now).await?
            }
        }
        // What is under way is not erased.
        Purchase::Erased(_) => return Err(Error::Stored("item of an order")),
    };
    let Some(ending) = ending else {
        return Ok(None);
    };
    let upgrade = ending.state == State::Completed && order.kind() == OrderKind::Upgrade;
    if upgrade {
        let from = ending.how.effective_at.unwrap_or(now);
        purchase::rent_kept_numbers(ctx, order, from).await?;
    }
    let number = match ending.how.invoice_id.map(InvoiceId::from_uuid) {
        Some(id) if upgrade => Some(ctx.invoice(id).await?.number),
        Some(_) | None => None,
    };
    Ok(Some(Ending { number, ..ending }))
}

/// How an order ends that is paid from the balance, or gives of it back.
fn carried_out(order: &Order, done: Result<End, Error>) -> Result<Ending, Error> {
    match done {
        Ok(done) => Ending::by(Event::Fulfilled, order, done),
        Err(Error::Peer(status)) => refused(order, status),
        Err(error @ (Error::Denied(..) | Error::ResourceExists)) => refused(order, error.into()),
        Err(error) => Err(error),
    }
}

/// The order as it is now, if it is committed and has not ended.
async fn under_way(ctx: &Ctx, order: &Order) -> Result<Option<Order>, Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
    let known = orders::get(&mut tx, order.order_id).await?;
    tx.commit().await?;
    Ok(known.filter(|it| it.state.is_under_way()))
}

/// Applies a change of plan.
async fn change_plan(ctx: &Ctx, order: &Order) -> Result<Ending, Error> {
    match ctx.apply_change(order, false).await {
        Ok(segment) => {
            let effective_at = start(&segment);
            let done = End {
                effective_at,
                ..End::default()
            };
            Ending::by(Event::Fulfilled, order, done)
        }
        Err(status) => refused(order, status),
    }
}

/// When a segment begins.
fn start(segment: &plan::Segment) -> Option<DateTime<Utc>> {
    wire::instant("start_time", segment.start_time).ok()
}

/// Whether the quote still holds, before anything is paid.
async fn checked(ctx: &Ctx, order: &Order) -> Result<(), Status> {
    if order.family_code.is_empty() {
        return Ok(());
    }
    if !ctx.holds(order).await? {
        return Err(Error::from(OrderRefused::Requote).into());
    }
    Ok(())
}

/// Applies the plan change that an order has paid for. The payment has moved money, so the order can only move forward;
/// a refusal needs an operator.
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
        tracing::error!(order.id = %order.order_id, reason = status.message(), "the plan change of a paid order was refused; an operator must resolve it");
    })?;
    if order.auto_recharge {
        // A refusal means that no method can be charged off-session. Auto-recharge stays off, which the customer sees.
        match ctx.recharge_by(order).await {
            Err(status) if !is_refusal(&status) => return Err(status.into()),
            Ok(()) | Err(_) => {}
        }
    }
    crash_point("order.in_force");
    Ok(start(&segment).unwrap_or(now))
}

/// Asks for the payment of an order, or looks how it stands; nothing is credited here (D6).
async fn pay(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<Option<Ending>, Error> {
    let collection = if let Some(id) = order.collection_id {
        // Any error here leaves the order as it is: money may have moved.
        ctx.collection(CollectionId::from_uuid(id)).await?
    } else {
        // The quote is checked before the payment is requested; afterwards money may have moved.
        if after(order.state, Event::PaymentRequested).is_some() {
            if let Err(status) = checked(ctx, order).await {
                return refused(order, status).map(Some);
            }
            if !asked(ctx, order).await? {
                return Ok(None);
            }
            crash_point("order.asked");
        }
        match ctx.collect(order).await {
            Ok(collection) => {
                crash_point("order.collected");
                collection
            }
            Err(status) => return refused(order, status).map(Some),
        }
    };
    let id: CollectionId = collection
        .collection_id
        .parse()
        .map_err(|_| Error::Stored("collection"))?;
    let event = payment_event(&collection);
    let Some(state) = after(order.state, event) else {
        return Ok(None);
    };
    if state.is_under_way() {
        set_payment(ctx, order, (state, id)).await?;
        return Ok(None);
    }
    let invoice: Option<InvoiceId> = collection.invoice_id.parse().ok();
    let effective_at = if event == Event::Fulfilled {
        // Recorded first, so that the job continues here if the next step fails.
        set_payment(ctx, order, (State::AwaitingPayment, id)).await?;
        crash_point("order.paid");
        match put_in_force(ctx, order, now).await {
            Ok(at) => Some(at),
            // It waits for a person, and is no refusal: its money has moved.
            Err(Error::Peer(status)) if is_refusal(&status) => return Ok(None),
            Err(error) => return Err(error),
        }
    } else {
        None
    };
    let reason = match collection.failure_reason.as_str() {
        _ if event != Event::Refused => "",
        // The payment settled with another amount, which was added to the balance.
        "SETTLED_AMOUNT_DIFFERS" => "SETTLED_AMOUNT_DIFFERS",
        _ => "PAYMENT_DECLINED",
    };
    let done = End {
        effective_at,
        reason: reason.to_owned(),
        collection_id: Some(id.uuid()),
        invoice_id: invoice.map(InvoiceId::uuid),
        resource_id: None,
    };
    Ending::by(event, order, done).map(Some)
}

/// Records that the payment of an order is being requested. `false` if another worker has done so.
async fn asked(ctx: &Ctx, order: &Order) -> Result<bool, Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
    let first = orders::set_asked(&mut tx, order.order_id).await?;
    tx.commit().await?;
    Ok(first)
}

/// Records the state of an order's payment.
async fn set_payment(
    ctx: &Ctx,
    order: &Order,
    (state, id): (State, CollectionId),
) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
    orders::set_payment(&mut tx, order.order_id, state, id.uuid()).await?;
    tx.commit().await?;
    Ok(())
}

/// What the state of its collection means for an order.
pub fn payment_event(collection: &billing::Collection) -> Event {
    use billing::collection::State as Paid;
    match collection.state() {
        Paid::Succeeded => Event::Fulfilled,
        Paid::Declined if collection.failure_reason == WITHDRAWN => Event::PaymentWithdrawn,
        Paid::Declined => Event::Refused,
        Paid::AwaitingSettlement => Event::SettlementPending,
        Paid::Unspecified | Paid::Pending | Paid::Unknown | Paid::Parked | Paid::Invoiced => {
            Event::PaymentPending
        }
    }
}

/// Ends an order, in a transaction of its own; an error where another service refused it.
pub async fn end(
    ctx: &Ctx,
    order: &Order,
    ending: &Ending,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(order.root_id)).await?;
    note_end(&mut tx, order, ending, now).await?;
    tx.commit().await?;
    ended(ctx, order, ending).await;
    match &ending.refused {
        Some(status) => Err(Error::Peer(status.clone())),
        None => Ok(()),
    }
}

/// Notes the end of an order, and gives it as it is then; `None` where another has ended it. The first that is paid
/// makes a trial FULL (D5).
pub async fn note_end(
    db: &mut PgConnection,
    order: &Order,
    ending: &Ending,
    now: DateTime<Utc>,
) -> Result<Option<Order>, Error> {
    let Ending { state, how, .. } = ending;
    let upgrades = ending.upgrades(order);
    if upgrades {
        // The account first, as everywhere: who commits the order has locked both in this order.
        accounts::lock(db, order.root_id).await?;
    }
    let ended = orders::end(db, order.order_id, *state, how, now).await?;
    if upgrades && ended.is_some() {
        upgraded(db, order, how.effective_at.unwrap_or(now)).await?;
        if order.kind() == OrderKind::Upgrade {
            let invoice = how.invoice_id.zip(ending.number.clone());
            confirmed(db, order, invoice, now).await?;
        }
    }
    Ok(ended)
}

/// What follows once the end of an order is committed: the others learn how its account stands, and jobs are woken.
pub async fn ended(ctx: &Ctx, order: &Order, ending: &Ending) {
    crash_point("order.ended");
    if ending.upgrades(order) {
        tell_standing::soon(ctx, order.root_id).await;
    }
    ctx.wake.notify_waiters();
}

/// Notifies the recipient of invoices that the upgrade is confirmed, with its invoice (REQ-109).
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
        kind: Kind::Upgraded,
        event: format!("upgraded {}", OrderId::from_uuid(order.order_id)),
        facts,
        invoice,
    };
    notify::owner(db, &account, &news, now).await
}

/// Makes an account full with its first purchase (D5), and lifts its limit if it has bought a plan or was limited as a
/// trial (REQ-131). The caller has locked the account.
async fn upgraded(db: &mut PgConnection, order: &Order, at: DateTime<Utc>) -> Result<(), Error> {
    let root = order.root_id;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let trial = account.r#type == AccountType::Trial;
    if !trial && order.kind() != OrderKind::Upgrade {
        return Ok(());
    }
    // A limit in the future stems from a later cancellation and stays.
    let limit = account
        .limited_at
        .filter(|from| *from <= at || account.limit_reason == LimitReason::TrialExpired);
    if let Some(from) = limit {
        limit::lifted(db, (root, from), &order.actor, at).await?;
        accounts::set_limit(db, root, None).await?;
    }
    if trial {
        let told = Told {
            state: "TYPE",
            name: "UPGRADED",
            change: (AccountType::Trial.as_str(), AccountType::Full.as_str()),
            actor: &order.actor,
            reason: "",
            resource: "",
        };
        history::tell(db, (root, root), &told, at).await?;
    }
    Ok(accounts::set_full(db, root, at).await?)
}

/// How an order ends that another service refused; anything else that went wrong leaves it as it is.
fn refused(order: &Order, status: Status) -> Result<Ending, Error> {
    let reason = status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default();
    let event = if status.code() == Code::Aborted && reason == "REQUOTE" {
        Event::QuoteOutdated
    } else if is_refusal(&status) || passes(&status) {
        // A payment under way may be the very one: whoever wants another orders anew.
        Event::Refused
    } else {
        return Err(Error::Peer(status));
    };
    let how = End {
        reason,
        ..End::default()
    };
    Ok(Ending {
        refused: Some(status),
        ..Ending::by(event, order, how)?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_cancelled_if_its_payment_was_withdrawn_and_not_if_a_payer_gave_up() {
        let declined = |reason: &str| {
            let collection = billing::Collection {
                state: billing::collection::State::Declined.into(),
                failure_reason: reason.to_owned(),
                ..billing::Collection::default()
            };
            after(State::AwaitingSettlement, payment_event(&collection))
        };
        assert_eq!(declined("WITHDRAWN"), Some(State::Cancelled));
        for reason in ["CANCELLED", "BOUNCED", ""] {
            assert_eq!(declined(reason), Some(State::Failed), "{reason}");
        }
    }
}
