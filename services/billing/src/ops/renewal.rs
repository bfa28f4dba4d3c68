//! Renewals: each cycle is paid at its start, tried again on the policy's days, and ends the subscription
//! when every try has failed (REQ-127, D13). What is in force decides what is paid: `plan` is asked at the
//! start of each cycle, so that a change, a cancellation and the price of a version need no word here.

use chassis::wire;
use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use proto::plan::v1 as plan;
use sqlx::PgConnection;
use uuid::Uuid;
use values::{AccountId, Money, anniversary, elapsed_cycles};

use super::collect::{self, Of};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::dunning;
use crate::error::Error;
use crate::store::collections::{self, Collection, Line};
use crate::store::subscriptions::{self, Subscription};
use crate::store::{accounts, closings, ledger, outbox};

/// How long a renewal is put off that can't be made now.
const PUT_OFF: TimeDelta = TimeDelta::minutes(5);

/// How long after a try that never reached the provider the next one is made.
const NOT_SENT_AGAIN: TimeDelta = TimeDelta::hours(1);

/// What is in force and paid in advance.
struct Terms {
    plan_code: String,
    cycle_code: String,
    months: u32,
    anchor: NaiveDate,
    price_minor: i64,
    formula: String,
}

impl Terms {
    /// What is paid for a cycle.
    fn line(&self) -> Line {
        Line {
            kind: "SUBSCRIPTION".to_owned(),
            plan_code: self.plan_code.clone(),
            cycle_code: self.cycle_code.clone(),
            amount_minor: self.price_minor,
            formula: self.formula.clone(),
        }
    }
}

/// The terms of a segment; `None` where nothing is paid in advance.
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

/// Where the cycle after the one that `at` lies in begins.
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

/// Takes notice of what is in force for an account: a plan that is paid in advance is renewed from now on.
/// Its first cycle is paid by its order; one that no order paid for is due at its start.
pub async fn follow(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (root, family): (Uuid, &str),
    segment: &plan::Segment,
) -> Result<(), Error> {
    let Some(terms) = terms(segment)? else {
        return Ok(());
    };
    let start = wire::instant("start_time", segment.start_time);
    let start = start.map_err(|_| Error::Stored("segment of plan"))?;
    ledger::lock(db, &[root]).await?;
    let known = subscriptions::lock(db, root, family).await?;
    let paid = paid_by_order(db, segment).await?;
    // Of the segment, never of now: news may come late, and again.
    let first = if paid {
        boundary(catalogue, family, &terms, start)?
    } else {
        start
    };
    if let Some(known) = &known {
        // One that began after the cycle that is being paid, or given up, takes its place when it is paid for
        // or nothing is under way.
        let ending = known.state == "ENDING";
        let free = known.collection_id.is_none() || (ending && paid);
        // An order that paid the difference to a cycle which has begun has not paid that cycle.
        let day = family_of(catalogue, family)?.zone.day(start);
        let skipped = paid && terms.anchor != day && known.cycle_start_at <= start;
        if !free
            || skipped
            || first <= known.cycle_start_at
            || start <= known.cycle_start_at && !paid
        {
            return Ok(());
        }
    }
    let next = Subscription {
        root_id: root,
        family_code: family.to_owned(),
        state: "ACTIVE".to_owned(),
        cycle_start_at: first,
        next_start_at: None,
        collection_id: None,
        retries: 0,
        due_at: Some(first),
    };
    Ok(subscriptions::set(db, &next).await?)
}

/// Lets the paid credit of an account expire some days after its timeline ends, where its profile says so; a plan
/// that is paid for again takes that back (REQ-125).
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

/// Whether the order of a segment has paid for the cycle that the segment began with.
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
        .any(|line| line.kind == "SUBSCRIPTION" && line.plan_code == segment.plan_code);
    Ok(pays && collection.state == "SUCCEEDED")
}

/// Goes on with a subscription that is due; safe to repeat.
pub async fn go_on(ctx: &Ctx, known: &Subscription, now: DateTime<Utc>) -> Result<(), Error> {
    if known.state == "ENDING" {
        return end(ctx, known, now).await;
    }
    // A new cycle is what is in force at its start; one that is tried again must still be.
    let at = known.collection_id.map_or(known.cycle_start_at, |_| now);
    let account = AccountId::from_uuid(known.root_id);
    let segment = ctx.plan_at(account, &known.family_code, at).await?;
    let terms = segment.as_ref().map(terms).transpose()?.flatten();
    let catalogue = ctx.active_catalogue().await?;
    let mut tx = ctx.db.begin().await?;
    let asked = begin(&mut tx, &catalogue, known, terms.as_ref(), now).await?;
    tx.commit().await?;
    if let Some(id) = asked {
        // What is refused is counted there; what is lost, the job that asks again finds.
        if let Err(error) = collect::ask(ctx, id).await {
            tracing::warn!(collection.id = %id, error = %chassis::Chain(&error), "asking for a renewal failed");
        }
    }
    Ok(())
}

/// Writes down what pays for the cycle of a subscription; forgets one that has ended.
async fn begin(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    known: &Subscription,
    terms: Option<&Terms>,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let root = known.root_id;
    ledger::lock(db, &[root]).await?;
    let locked = subscriptions::lock(db, root, &known.family_code).await?;
    if locked.as_ref() != Some(known) {
        return Ok(None);
    }
    let Some(terms) = terms else {
        subscriptions::delete(db, root, &known.family_code).await?;
        return Ok(None);
    };
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    if closings::stands(db, root).await? {
        // It goes with the closing, or goes on when that is given up.
        let later = Subscription {
            due_at: Some(now + PUT_OFF),
            ..known.clone()
        };
        subscriptions::set(db, &later).await?;
        return Ok(None);
    }
    let mut next = Subscription {
        due_at: None,
        ..known.clone()
    };
    let Some(id) = known.collection_id else {
        let day = known.cycle_start_at.timestamp();
        let of_cycle = format!("renewal {} {day}", known.family_code);
        let id = Uuid::new_v5(&root, of_cycle.as_bytes());
        let end = boundary(catalogue, &known.family_code, terms, known.cycle_start_at)?;
        next.next_start_at = Some(end);
        next.collection_id = Some(id);
        if let Some(made) = collections::lock(db, id).await? {
            // The cycle was asked for before: what became of that counts.
            subscriptions::set(db, &next).await?;
            return taken_over(db, catalogue, &made, now).await;
        }
        let line = terms.line();
        let of = Of {
            purpose: "RENEWAL",
            order: None,
            invoice: None,
            method: None,
            intent: Uuid::now_v7(),
            id,
        };
        let asked = collect::begin(db, (catalogue, &account), &of, &[line], now).await?;
        subscriptions::set(db, &next).await?;
        if account.invoiced {
            collect::invoice(db, catalogue, &asked, now).await?;
            return Ok(None);
        }
        return Ok(Some(asked.collection_id));
    };
    let collection = collections::lock(db, id)
        .await?
        .ok_or(Error::Stored("collection"))?;
    let wait = (collect::WAIT_SECONDS, now);
    if collection.state == "DECLINED" {
        let again = (None, Uuid::now_v7());
        collections::try_again(db, collection.collection_id, again, wait).await?;
    }
    subscriptions::set(db, &next).await?;
    Ok(Some(id))
}

/// Goes on from a collection of the cycle that is there: paid, it is renewed; declined, it is tried again on
/// the policy's days; else its outcome is waited for.
async fn taken_over(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    made: &Collection,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    match made.state.as_str() {
        "SUCCEEDED" | "INVOICED" => paid(db, made).await?,
        "DECLINED" => declined(db, catalogue, made, (&made.failure_reason, true), now).await?,
        _ => {}
    }
    Ok(None)
}

/// Notes that a cycle is paid, or stands on an open invoice: the next one is due at its start.
pub async fn paid(db: &mut PgConnection, collection: &Collection) -> Result<(), Error> {
    let Some(known) = subscriptions::lock_of(db, collection.collection_id).await? else {
        return Ok(());
    };
    let next = known.next_start_at.ok_or(Error::Stored("subscription"))?;
    let renewed = Subscription {
        state: "ACTIVE".to_owned(),
        cycle_start_at: next,
        next_start_at: None,
        collection_id: None,
        retries: 0,
        due_at: Some(next),
        ..known
    };
    Ok(subscriptions::set(db, &renewed).await?)
}

/// Notes that a cycle could not be paid: it is tried again on the next of the policy's days, or ends. A try
/// that failed by no fault of the payer does not count.
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
    // A try that its owner made is none of the policy's: those go on as they were to.
    let differs = reason == collect::SETTLED_AMOUNT_DIFFERS;
    if collection.is_attended() && known.due_at.is_some() && !differs {
        return Ok(());
    }
    if differs {
        tracing::error!(collection.id = %collection.collection_id, "a renewal was paid by another sum");
        // What has arrived is credit. A person settles this cycle; the next ones go on.
        return paid(db, collection).await;
    }
    let counts = counts && !collection.is_attended();
    let family = family_of(catalogue, &known.family_code)?;
    let retries = usize::try_from(known.retries).unwrap_or(usize::MAX);
    let start = family.zone.day(known.cycle_start_at);
    let again = dunning::next_try(start, &family.retry_days, retries);
    let tomorrow = family.zone.day(now) + Days::new(1);
    let (state, due_at) = match again {
        _ if !counts => ("PAST_DUE", Some(now + NOT_SENT_AGAIN)),
        // At most one a day, also where the first was decided late.
        Some(day) => {
            let at = family.zone.start_of(day);
            let later = family.zone.start_of(tomorrow);
            ("PAST_DUE", Some(if now < at { at } else { later }))
        }
        None => ("ENDING", Some(now)),
    };
    let next_at = due_at.filter(|_| state == "PAST_DUE");
    if counts {
        outbox::renewal_failed(db, known.root_id, (reason, next_at), now).await?;
    }
    let next = Subscription {
        state: state.to_owned(),
        retries: known.retries + i32::from(counts),
        due_at,
        ..known
    };
    Ok(subscriptions::set(db, &next).await?)
}

/// Stops the tries of a cycle: a person looks at it.
pub async fn stop(db: &mut PgConnection, collection: &Collection) -> Result<(), Error> {
    let Some(known) = subscriptions::lock_of(db, collection.collection_id).await? else {
        return Ok(());
    };
    let next = Subscription {
        state: "PAST_DUE".to_owned(),
        due_at: None,
        ..known
    };
    Ok(subscriptions::set(db, &next).await?)
}

/// Ends a subscription in `plan`, and forgets it.
async fn end(ctx: &Ctx, known: &Subscription, now: DateTime<Utc>) -> Result<(), Error> {
    let account = AccountId::from_uuid(known.root_id);
    let row = known.collection_id.ok_or(Error::Stored("subscription"))?;
    ctx.end_subscription(account, &known.family_code, Uuid::new_v5(&row, b"end"))
        .await?;
    let mut tx = ctx.db.begin().await?;
    let locked = subscriptions::lock(&mut tx, known.root_id, &known.family_code).await?;
    if locked.as_ref() == Some(known) {
        subscriptions::delete(&mut tx, known.root_id, &known.family_code).await?;
        outbox::subscription_ended(&mut tx, known.root_id, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Puts a subscription off whose renewal fails by a fault of ours.
pub async fn put_off(ctx: &Ctx, known: &Subscription, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    let locked = subscriptions::lock(&mut tx, known.root_id, &known.family_code).await?;
    if locked.as_ref() == Some(known) {
        let later = Subscription {
            due_at: Some(now + PUT_OFF),
            ..known.clone()
        };
        subscriptions::set(&mut tx, &later).await?;
    }
    tx.commit().await?;
    Ok(())
}
