//! Renewals. Each cycle is paid at its start, retried on the policy's days, and the subscription ends when every
//! retry has failed (REQ-127, D13). The plan in force decides what is charged: `plan` is asked at the start of each
//! cycle, so that plan changes, cancellations and new prices need no separate notice here.

use chassis::{PgConnection, wire};
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use proto::plan::v1 as plan;
use uuid::Uuid;
use values::{AccountId, Money, anniversary, elapsed_cycles};

use super::collect::{self, Of};
use super::end_invoice::{self, End};
use super::off_session;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::collection::{self, LineKind, Purpose};
use crate::domain::subscription::{Event, State, after};
use crate::domain::{dunning, invoice};
use crate::error::Error;
use crate::store::collections::{self, Collection, Line};
use crate::store::invoices::{self, Invoice};
use crate::store::subscriptions::{self, Subscription};
use crate::store::{accounts, closings, ledger, outbox};

/// Delay before a renewal that can't be made now is looked at again.
const PUT_OFF: TimeDelta = TimeDelta::minutes(5);

/// Delay before the next attempt after one that never reached the provider.
const NOT_SENT_AGAIN: TimeDelta = TimeDelta::hours(1);

/// Delay while a payment of the cycle's open invoice is under way.
const BEING_PAID: TimeDelta = TimeDelta::hours(1);

/// Who voids the open invoice of a cycle that is not paid.
const ENDED_BY: &str = "service:billing";

/// The terms of the plan in force, which is paid in advance.
struct Terms {
    plan_code: String,
    cycle_code: String,
    months: u32,
    anchor: NaiveDate,
    price_minor: i64,
    formula: String,
}

impl Terms {
    /// The collection line for one cycle, from its first day to the day after its last.
    fn line(&self, family: &str, (start_on, end_on): (NaiveDate, NaiveDate)) -> Line {
        Line {
            kind: LineKind::Subscription,
            plan_code: self.plan_code.clone(),
            cycle_code: self.cycle_code.clone(),
            amount_minor: self.price_minor,
            formula: self.formula.clone(),
            family_code: family.to_owned(),
            cycle_months: i32::try_from(self.months).unwrap_or(0),
            start_on: Some(start_on),
            end_on: Some(end_on),
        }
    }
}

/// The terms of a segment; `None` if its plan is not paid in advance.
fn terms(segment: &plan::Segment) -> Result<Option<Terms>, Error> {
    let bad = || Error::Stored("segment of plan");
    let Some(price) = &segment.cycle_price else {
        return Ok(None);
    };
    let currency = price.currency_code.parse().map_err(|_| bad())?;
    let price = Money::parse(&price.amount, currency).map_err(|_| bad())?;
    Ok(Some(Terms {
        plan_code: segment.plan_code.clone(),
        cycle_code: segment.billing_cycle_code.clone(),
        months: u32::try_from(segment.cycle_months)
            .ok()
            .filter(|months| 0 < *months)
            .ok_or_else(bad)?,
        anchor: segment.anchor_date.parse().map_err(|_| bad())?,
        price_minor: price.minor(),
        formula: segment.cycle_formula.clone(),
    }))
}

/// The start of the cycle that follows the one containing `at`.
fn boundary(
    catalogue: &Catalogue,
    family: &str,
    terms: &Terms,
    at: DateTime<Utc>,
) -> Result<DateTime<Utc>, Error> {
    let family = family_of(catalogue, family)?;
    let passed = elapsed_cycles(terms.anchor, terms.months, family.zone.day(at));
    let day = anniversary(terms.anchor, terms.months, passed + 1);
    Ok(family.zone.start_of(day.ok_or(Error::Stored("anchor"))?))
}

fn family_of<'c>(
    catalogue: &'c Catalogue,
    code: &str,
) -> Result<&'c crate::clients::Family, Error> {
    catalogue
        .families
        .get(code)
        .ok_or_else(|| Error::FamilyNotFound(code.to_owned()))
}

/// Follows the plan in force for an account: a plan that is paid in advance is renewed from now on. The order that
/// started the plan has paid for its first cycle; if no order paid, the first cycle is due at its start.
pub async fn follow(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (root, family): (Uuid, &str),
    segment: &plan::Segment,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(terms) = terms(segment)? else {
        return Ok(());
    };
    let start = wire::instant("start_time", segment.start_time);
    let start = start.map_err(|_| Error::Stored("segment of plan"))?;
    ledger::lock(db, &[root]).await?;
    let known = subscriptions::lock(db, root, family).await?;
    let paid = paid_by_order(db, segment).await?;
    // Computed from the segment and not from the current time, because events can arrive late or twice.
    let first = if paid {
        boundary(catalogue, family, &terms, start)?
    } else {
        start
    };
    if let Some(known) = &known {
        // A plan that starts after the current cycle replaces it if that cycle has no collection yet, or if it was
        // given up and the new plan is paid for.
        let ending = known.state == State::Ending;
        let free = known.collection_id.is_none() || (ending && paid);
        // An order that paid only the difference in a running cycle has not paid for that cycle.
        let day = family_of(catalogue, family)?.zone.day(start);
        let skipped = paid && terms.anchor != day && known.cycle_start_at <= start;
        if !free
            || skipped
            || first <= known.cycle_start_at
            || start <= known.cycle_start_at && !paid
        {
            return Ok(());
        }
        void_cycle(db, known, now).await?;
    }
    let next = Subscription {
        root_id: root,
        family_code: family.to_owned(),
        state: State::Active,
        cycle_start_at: first,
        next_start_at: None,
        collection_id: None,
        retries: 0,
        due_at: Some(first),
    };
    Ok(subscriptions::set(db, &next).await?)
}

/// Sets the expiry of an account's paid credit to some days after the end of its timeline, if its profile says so.
/// Paying for a plan again removes the expiry (REQ-125).
pub async fn lapse(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (root, timeline): (Uuid, &[plan::Segment]),
) -> Result<(), Error> {
    let Some(last) = timeline
        .last()
        .filter(|it| !it.billing_cycle_code.is_empty())
    else {
        return Ok(());
    };
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let days = collect::profile(catalogue, &account)?.lapse_days;
    let end = wire::optional_instant("end_time", last.end_time);
    let end = end.map_err(|_| Error::Stored("segment of plan"))?;
    let expiry = end
        .filter(|_| 0 < days)
        .and_then(|end| end.checked_add_signed(TimeDelta::try_days(days)?));
    ledger::lock(db, &[root]).await?;
    Ok(ledger::set_lapse(db, root, expiry).await?)
}

/// Whether the order of a segment has paid for the first cycle of the segment.
async fn paid_by_order(db: &mut PgConnection, segment: &plan::Segment) -> Result<bool, Error> {
    if segment.order_id.is_empty() {
        return Ok(false);
    }
    let order: values::OrderId = collect::parsed(&segment.order_id)?;
    let Some(collection) = collections::lock_of_order(db, order.uuid()).await? else {
        return Ok(false);
    };
    let lines = collections::lines(db, collection.collection_id).await?;
    let pays = lines
        .iter()
        .any(|line| line.kind == LineKind::Subscription && line.plan_code == segment.plan_code);
    Ok(pays && collection.state == collection::State::Succeeded)
}

/// A subscription after an event.
fn moved(known: Subscription, event: Event) -> Subscription {
    let state = after(known.state, event).unwrap_or(known.state);
    Subscription { state, ..known }
}

/// Whether a timeline was cancelled: its last segment has an end.
fn is_cancelled(timeline: &[plan::Segment]) -> bool {
    timeline.last().is_some_and(|last| last.end_time.is_some())
}

/// The id of the collection for the current cycle of a subscription. It is derived from the cycle, so that each cycle
/// is charged once.
fn cycle_id(known: &Subscription) -> Uuid {
    let day = known.cycle_start_at.timestamp();
    let of_cycle = format!("renewal {} {day}", known.family_code);
    Uuid::new_v5(&known.root_id, of_cycle.as_bytes())
}

/// Applies a cancellation: the retries of an unpaid cycle stop, and the plan ends. Usage stays owed, as it was
/// debited; the cycle is not.
pub async fn cancelled(
    db: &mut PgConnection,
    (root, family): (Uuid, &str),
    timeline: &[plan::Segment],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if !is_cancelled(timeline) {
        return Ok(());
    }
    ledger::lock(db, &[root]).await?;
    // The closing ends the subscription.
    if closings::stands(db, root).await? {
        return Ok(());
    }
    match subscriptions::lock(db, root, family).await? {
        Some(known) if after(known.state, Event::Cancelled).is_some() => {
            give_up(db, known, now).await
        }
        Some(_) | None => Ok(()),
    }
}

/// Ends the retries of a locked subscription, unless a payment is under way, whose outcome decides.
async fn give_up(
    db: &mut PgConnection,
    known: Subscription,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some(id) = known.collection_id {
        let collection = collections::lock(db, id)
            .await?
            .ok_or(Error::Stored("collection"))?;
        if collection.state != collection::State::Declined || known.due_at.is_none() {
            return Ok(());
        }
    }
    let next = Subscription {
        due_at: Some(now),
        ..moved(known, Event::GivenUp)
    };
    Ok(subscriptions::set(db, &next).await?)
}

/// Processes a subscription that is due: charges its cycle, retries the charge, or ends it. Safe to repeat.
pub async fn go_on(ctx: &Ctx, known: &Subscription, now: DateTime<Utc>) -> Result<(), Error> {
    if known.state == State::Ending {
        return end(ctx, known, now).await;
    }
    // A new cycle is charged by the plan in force at its start; a retry needs the plan to be in force now.
    let at = known.collection_id.map_or(known.cycle_start_at, |_| now);
    let account = AccountId::from_uuid(known.root_id);
    let segment = ctx.plan_at(account, &known.family_code, at).await?;
    let terms = segment.as_ref().map(terms).transpose()?.flatten();
    // An unpaid cycle is not charged after its plan was cancelled.
    let timeline = ctx.timeline(account, &known.family_code).await?;
    let ends = terms.is_some() && is_cancelled(&timeline);
    let catalogue = ctx.active_catalogue().await?;
    let method = if terms.is_some() && !ends {
        let of = (known.root_id, known.family_code.as_str());
        off_session::for_renewal(ctx, of, known.collection_id).await?
    } else {
        None
    };
    let mut tx = ctx.db.begin().await?;
    let asked = if ends {
        ended_tries(&mut tx, known, now).await?;
        None
    } else {
        begin(&mut tx, &catalogue, known, (terms.as_ref(), method), now).await?
    };
    tx.commit().await?;
    if let Some(id) = asked {
        // A refusal has been applied to the collection already; a lost call is repeated by the `ask_payments` job.
        if let Err(error) = collect::ask(ctx, id).await {
            tracing::warn!(
                collection.id = %id,
                error = %chassis::Chain(&error),
                "requesting the charge of a renewal failed; a lost call is repeated"
            );
        }
    }
    Ok(())
}

/// Ends the retries of a subscription that is due and unchanged. If a payment is under way, the subscription is
/// looked at again later.
async fn ended_tries(
    db: &mut PgConnection,
    known: &Subscription,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    ledger::lock(db, &[known.root_id]).await?;
    let locked = subscriptions::lock(db, known.root_id, &known.family_code).await?;
    if locked.as_ref() != Some(known) {
        return Ok(());
    }
    let later = put_off(db, known, now).await?;
    give_up(db, later, now).await
}

/// Deletes a subscription whose plan is not in force any more; the open invoice of its cycle becomes void. A payment of
/// it that is under way decides first.
async fn without_plan(
    db: &mut PgConnection,
    known: &Subscription,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    if let Some(id) = known.collection_id
        && collections::paying(db, id).await?.is_some()
    {
        let later = Subscription {
            due_at: Some(now + BEING_PAID),
            ..known.clone()
        };
        return Ok(subscriptions::set(db, &later).await?);
    }
    void_cycle(db, known, now).await?;
    Ok(subscriptions::delete(db, known.root_id, &known.family_code).await?)
}

/// Has a subscription looked at again later.
async fn put_off(
    db: &mut PgConnection,
    known: &Subscription,
    now: DateTime<Utc>,
) -> sqlx::Result<Subscription> {
    let later = Subscription {
        due_at: Some(now + PUT_OFF),
        ..known.clone()
    };
    subscriptions::set(db, &later).await?;
    Ok(later)
}

/// Stores the collection for the cycle of a subscription, or retries a declined one. Deletes the subscription if no
/// plan is in force. Returns the collection to charge, if any.
async fn begin(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    known: &Subscription,
    (terms, method): (Option<&Terms>, Option<Uuid>),
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let root = known.root_id;
    ledger::lock(db, &[root]).await?;
    let locked = subscriptions::lock(db, root, &known.family_code).await?;
    if locked.as_ref() != Some(known) {
        return Ok(None);
    }
    let Some(terms) = terms else {
        without_plan(db, known, now).await?;
        return Ok(None);
    };
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    if closings::stands(db, root).await? {
        // The closing deletes the subscription, or renewals continue when the closing is aborted.
        put_off(db, known, now).await?;
        return Ok(None);
    }
    let mut next = Subscription {
        due_at: None,
        ..known.clone()
    };
    let Some(id) = known.collection_id else {
        let id = cycle_id(known);
        let end = boundary(catalogue, &known.family_code, terms, known.cycle_start_at)?;
        next.next_start_at = Some(end);
        next.collection_id = Some(id);
        if let Some(made) = collections::lock(db, id).await? {
            // The cycle has a collection already; its outcome decides.
            subscriptions::set(db, &next).await?;
            return taken_over(db, catalogue, &made, now).await;
        }
        let zone = family_of(catalogue, &known.family_code)?.zone;
        let days = (zone.day(known.cycle_start_at), zone.day(end));
        let line = terms.line(&known.family_code, days);
        let of = Of {
            purpose: Purpose::Renewal,
            order: None,
            invoice: None,
            method: None,
            intent: Uuid::now_v7(),
            id,
        };
        let asked = collect::begin(db, (catalogue, &account), &of, &[line], now).await?;
        collections::set_chosen_method(db, id, method).await?;
        subscriptions::set(db, &next).await?;
        if account.invoiced {
            collect::invoice(db, catalogue, &asked, now).await?;
            return Ok(None);
        }
        return Ok(Some(asked.collection_id));
    };
    if is_held_back(db, catalogue, (known, id), now).await? {
        return Ok(None);
    }
    let collection = collections::lock(db, id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    let wait = (collect::WAIT_SECONDS, now);
    if collection::after(collection.state, collection::Event::Retried).is_some() {
        let again = (None, Uuid::now_v7());
        collections::try_again(db, collection.collection_id, again, wait).await?;
        collections::set_chosen_method(db, collection.collection_id, method).await?;
    }
    subscriptions::set(db, &next).await?;
    Ok(Some(id))
}

/// Whether the cycle's invoice forbids another attempt to charge it, and what follows then. Of an open one a payment is
/// under way, or part of it is paid, so that only its owner can pay the rest and is reminded: the attempt is put off. One
/// that is paid renews the plan, and one that was voided or written off ends it.
async fn is_held_back(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (known, id): (&Subscription, Uuid),
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Some(invoice) = invoices::get(db, id).await? else {
        return Ok(false);
    };
    if invoice.state == invoice::State::Paid {
        paid(db, id).await?;
        return Ok(true);
    }
    let next = if invoice.state != invoice::State::Open {
        // It was voided or written off: nothing is owed for the cycle, and its plan ends.
        Subscription {
            due_at: Some(now),
            ..moved(known.clone(), Event::GivenUp)
        }
    } else if collections::paying(db, id).await?.is_some() {
        Subscription {
            due_at: Some(now + BEING_PAID),
            ..known.clone()
        }
    } else if invoice.due_minor() < invoice.total_minor {
        let why = ("INVOICE_PAID_IN_PART", true);
        failed(db, catalogue, known.clone(), why, now).await?
    } else {
        return Ok(false);
    };
    subscriptions::set(db, &next).await?;
    Ok(true)
}

/// Continues from an existing collection of the cycle: if paid, the subscription is renewed; if declined, the charge
/// is retried on the policy's days; otherwise its outcome is awaited.
async fn taken_over(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    made: &Collection,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    match made.state {
        collection::State::Succeeded | collection::State::Invoiced => {
            paid(db, made.collection_id).await?;
        }
        collection::State::Declined => {
            declined(db, catalogue, made, (&made.failure_reason, true), now).await?;
        }
        collection::State::Created
        | collection::State::Pending
        | collection::State::AwaitingSettlement
        | collection::State::Unknown
        | collection::State::Parked => {}
    }
    Ok(None)
}

/// Records that a cycle is paid or invoiced, given the id of its collection, which is also that of its invoice. The
/// next cycle is due at its start. Nothing changes if no subscription waits for it.
pub async fn paid(db: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    let Some(known) = subscriptions::lock_of(db, id).await? else {
        return Ok(());
    };
    let next = known.next_start_at.ok_or(Error::Stored("subscription"))?;
    let renewed = Subscription {
        cycle_start_at: next,
        next_start_at: None,
        collection_id: None,
        retries: 0,
        due_at: Some(next),
        ..moved(known, Event::Paid)
    };
    Ok(subscriptions::set(db, &renewed).await?)
}

/// Ends the retries of the cycle that an invoice bills, if a subscription waits for its payment: the invoice was voided
/// or written off. The caller holds the lock of the account's balance.
pub async fn not_owed(
    db: &mut PgConnection,
    invoice: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    match subscriptions::lock_of(db, invoice).await? {
        Some(known) => give_up(db, known, now).await,
        None => Ok(()),
    }
}

/// Refuses to settle the open invoice of a cycle while its plan is being ended, after which the invoice is void: whoever
/// repeats is told so. The caller holds the lock of the account's balance.
///
/// # Errors
/// `PaymentUnderWay` while the plan is being ended.
pub async fn not_ending(db: &mut PgConnection, invoice: &Invoice) -> Result<(), Error> {
    let waits = subscriptions::lock_of(db, invoice.invoice_id).await?;
    if invoice.state == invoice::State::Open && waits.is_some_and(|it| it.state == State::Ending) {
        return Err(Error::PaymentUnderWay(AccountId::from_uuid(
            invoice.root_id,
        )));
    }
    Ok(())
}

/// Voids the open invoice of a cycle that is not paid any more, if it has one. If part of it is paid, or a payment is
/// under way, it stays open for a person. The caller holds the lock of the account's balance.
pub async fn void_cycle(
    db: &mut PgConnection,
    known: &Subscription,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(id) = known.collection_id else {
        return Ok(());
    };
    let invoice = invoices::get(db, id).await?;
    let Some(invoice) = invoice.filter(|it| 0 < it.due_minor()) else {
        return Ok(());
    };
    if 0 < invoice.charged_minor || collections::paying(db, id).await?.is_some() {
        tracing::error!(
            invoice.id = %id,
            "the plan of a cycle ended while its invoice was paid in part or being paid; settle the invoice by hand"
        );
        return Ok(());
    }
    let void = (End::Void, "the cycle was not paid");
    let by = (ENDED_BY.to_owned(), Uuid::new_v5(&id, b"void"));
    end_invoice::close(db, &invoice, void, by, now).await?;
    Ok(())
}

/// Records a failed charge of a cycle: it is retried on the next of the policy's days, or the subscription ends. A
/// failure that the payer did not cause does not count as a retry. Without a method that can be charged off-session,
/// the cycle becomes an open invoice, and the retries remind of it (D13).
pub async fn declined(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    collection: &Collection,
    (reason, counts): (&str, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(known) = subscriptions::lock_of(db, collection.collection_id).await? else {
        return Ok(());
    };
    // An attempt by the owner leaves the scheduled retries unchanged.
    let differs = reason == collect::SETTLED_AMOUNT_DIFFERS;
    if collection.is_attended() && known.due_at.is_some() && !differs {
        return Ok(());
    }
    if differs {
        tracing::error!(
            collection.id = %collection.collection_id,
            "a renewal was charged and another amount settled; it is credit now, settle the cycle by hand"
        );
        // The settled amount became credit. A person settles this cycle; later cycles are renewed as usual.
        return paid(db, collection.collection_id).await;
    }
    let counts = counts && !collection.is_attended();
    let root = known.root_id;
    let next = failed(db, catalogue, known, (reason, counts), now).await?;
    subscriptions::set(db, &next).await?;
    if next.state == State::PastDue
        && collect::asks_the_owner(reason)
        && !closings::stands(db, root).await?
    {
        collect::leave_open(db, catalogue, collection, now).await?;
    }
    Ok(())
}

/// A locked subscription after a failed attempt, of which its owner is notified.
async fn failed(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    known: Subscription,
    (reason, counts): (&str, bool),
    now: DateTime<Utc>,
) -> Result<Subscription, Error> {
    let family = family_of(catalogue, &known.family_code)?;
    let retries = usize::try_from(known.retries).unwrap_or(usize::MAX);
    let start = family.zone.day(known.cycle_start_at);
    let again = dunning::next_try(start, &family.retry_days, retries);
    let tomorrow = family.zone.day(now) + Days::new(1);
    let (event, due_at) = match again {
        _ if !counts => (Event::Failed, Some(now + NOT_SENT_AGAIN)),
        // At most one attempt a day, even if the previous one was decided late.
        Some(day) => {
            let at = family.zone.start_of(day);
            let later = family.zone.start_of(tomorrow);
            (Event::Failed, Some(if now < at { at } else { later }))
        }
        None => (Event::GivenUp, Some(now)),
    };
    let next_at = due_at.filter(|_| event == Event::Failed);
    if counts {
        outbox::renewal_failed(db, known.root_id, (reason, next_at), now).await?;
    }
    Ok(Subscription {
        retries: known.retries + i32::from(counts),
        due_at,
        ..moved(known, event)
    })
}

/// Stops the retries of a cycle until a person has looked at it.
pub async fn stop(db: &mut PgConnection, collection: &Collection) -> Result<(), Error> {
    let Some(known) = subscriptions::lock_of(db, collection.collection_id).await? else {
        return Ok(());
    };
    let next = Subscription {
        due_at: None,
        ..moved(known, Event::Stopped)
    };
    Ok(subscriptions::set(db, &next).await?)
}

/// Whether a subscription may end: it is unchanged, and no payment of its open invoice is under way, for which the end
/// is put off.
async fn may_end(ctx: &Ctx, known: &Subscription, now: DateTime<Utc>) -> Result<bool, Error> {
    let Some(id) = known.collection_id else {
        return Ok(true);
    };
    let mut tx = ctx.db.begin().await?;
    ledger::lock(&mut tx, &[known.root_id]).await?;
    let locked = subscriptions::lock(&mut tx, known.root_id, &known.family_code).await?;
    if locked.as_ref() != Some(known) {
        return Ok(false);
    }
    if collections::paying(&mut tx, id).await?.is_none() {
        return Ok(true);
    }
    let later = Subscription {
        due_at: Some(now + BEING_PAID),
        ..known.clone()
    };
    subscriptions::set(&mut tx, &later).await?;
    tx.commit().await?;
    Ok(false)
}

/// Ends a subscription in `plan` and deletes it here; the open invoice of its cycle becomes void.
async fn end(ctx: &Ctx, known: &Subscription, now: DateTime<Utc>) -> Result<(), Error> {
    if !may_end(ctx, known, now).await? {
        return Ok(());
    }
    let account = AccountId::from_uuid(known.root_id);
    let row = known.collection_id.unwrap_or_else(|| cycle_id(known));
    ctx.end_subscription(account, &known.family_code, Uuid::new_v5(&row, b"end"))
        .await?;
    let mut tx = ctx.db.begin().await?;
    ledger::lock(&mut tx, &[known.root_id]).await?;
    let locked = subscriptions::lock(&mut tx, known.root_id, &known.family_code).await?;
    if locked.as_ref() == Some(known) {
        void_cycle(&mut tx, known, now).await?;
        subscriptions::delete(&mut tx, known.root_id, &known.family_code).await?;
        outbox::subscription_ended(&mut tx, known.root_id, now).await?;
    }
    tx.commit().await?;
    Ok(())
}
