//! Writes usage events. Batches that arrive while the database is busy share one transaction.
//!
//! Invariants: a batch is written as a whole or not at all; an invalid batch never fails another; a batch is written
//! even if its caller disconnects; closed accounts are read in the writing transaction, and a closing reported later
//! takes the usage written before it out of the bill.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::{Database, PgConnection, Refusal};
use chrono::{DateTime, NaiveDate, Utc};
use tokio::sync::{Semaphore, oneshot};
use tonic::{Code, Status};
use uuid::Uuid;
use values::Zone;

use super::ingest::{Counts, Placed};
use super::spend::{self, Costs};
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::domain::unit_price::{Unit, price_as};
use crate::domain::usage::{self, Arrival, Changes, EventKey, SumKey, SumOutOfRange, Values};
use crate::error::Error;
use crate::store;
use crate::store::accounts::{Account, Closed};
use crate::store::usage::{Event, Stored};
use crate::store::{closings, ledger};

/// Concurrent write transactions.
const WRITERS: usize = 4;
/// The most events in a transaction that several batches share. A single batch may have more.
const TOGETHER_MAX: usize = 10_000;
/// The most events that wait before batches are refused. It is reached when the database is unavailable or slower
/// than the intake.
const QUEUED_MAX: usize = 200_000;
/// Time after which a refused batch may be sent again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often a transaction is run again after a deadlock or serialization failure.
const TRIES: u32 = 3;
/// Number of events from which COPY outweighs its extra round trips, and a batch its own plans.
const COPY_FROM: usize = 200;
/// The most events that one transaction takes out of the bill.
const UNBILLED_TOGETHER: i64 = 1_000;

/// The queue of batches waiting to be written.
pub struct Intake {
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Semaphore,
}

struct Waiting {
    events: Vec<Placed>,
    /// The catalogue by which balances pay for rated events; `None` if the batch has none.
    catalogue: Option<Arc<Catalogue>>,
    now: DateTime<Utc>,
    done: oneshot::Sender<Result<Counts, Error>>,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turns: Semaphore::new(WRITERS),
        }
    }
}

impl Intake {
    /// Writes a batch, alone if no other is waiting and otherwise together with those that are.
    ///
    /// # Errors
    /// `UNAVAILABLE` with reason `OVERLOADED` if the queue is full; the faults of the batch itself.
    pub async fn record(
        &self,
        db: &Database,
        events: Vec<Placed>,
        (catalogue, now): (Option<Arc<Catalogue>>, DateTime<Utc>),
    ) -> Result<Counts, Error> {
        let (done, counted) = oneshot::channel();
        let room = self.queue(|waiting| {
            let queued: usize = waiting.iter().map(|it| it.events.len()).sum();
            let room = queued + events.len() <= QUEUED_MAX;
            if room {
                waiting.push_back(Waiting {
                    events,
                    catalogue,
                    now,
                    done,
                });
            }
            room
        });
        if !room {
            let refusal = Refusal::new(Code::Unavailable, "OVERLOADED").retry_after(RETRY_AFTER);
            let message =
                "too much usage is waiting to be written; send the batch again later".to_owned();
            return Err(Error::Peer(refusal.into_status("billing.perdiem", message)));
        }
        if let Ok(_turn) = self.turns.acquire().await {
            // Every waiting caller gets a turn and takes at least one batch, so none is left behind.
            let taken = self.queue(take_together);
            if !taken.is_empty() {
                write_all(db, taken).await;
            }
        }
        // The sender is dropped only if the task that took the batch panicked.
        counted
            .await
            .unwrap_or(Err(Error::Stored("batch of usage")))
    }

    fn queue<T>(&self, with: impl FnOnce(&mut VecDeque<Waiting>) -> T) -> T {
        with(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes the first batch and as many more as fit into its transaction.
fn take_together(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut taken, mut count) = (Vec::new(), 0);
    while let Some(next) = waiting.front() {
        count += next.events.len();
        if !taken.is_empty() && TOGETHER_MAX < count {
            break;
        }
        taken.extend(waiting.pop_front());
    }
    taken
}

/// Writes batches in one transaction. If that fails, writes each in its own.
async fn write_all(db: &Database, taken: Vec<Waiting>) {
    if let [_, _, ..] = taken.as_slice() {
        let batches: Vec<&[Placed]> = taken.iter().map(|it| it.events.as_slice()).collect();
        let now = taken.iter().map(|it| it.now).max().unwrap_or_default();
        let catalogue = taken.iter().find_map(|it| it.catalogue.clone());
        match write_tx(db, &batches, (catalogue, now)).await {
            Ok(counts) => {
                for (batch, counts) in taken.into_iter().zip(counts) {
                    // The batch is written, whether or not its caller is still waiting.
                    let _ = batch.done.send(Ok(counts));
                }
                return;
            }
            Err(error) => {
                if let Some(status) = away(&error) {
                    return refuse(taken, &status);
                }
            }
        }
    }
    let mut left = taken.into_iter();
    while let Some(batch) = left.next() {
        let with = (batch.catalogue, batch.now);
        let counts = write_tx(db, &[&batch.events], with).await;
        let away = counts.as_ref().err().and_then(away);
        let counts = counts.map(|counts| counts.first().cloned().unwrap_or_default());
        let _ = batch.done.send(counts);
        if let Some(status) = away {
            return refuse(left.collect(), &status);
        }
    }
}

/// The status for every waiting batch if the database is unavailable: each would wait for it in vain.
fn away(error: &Error) -> Option<Status> {
    let Error::Database(error) = error else {
        return None;
    };
    let status = chassis::database_status(error);
    (status.code() == Code::Unavailable).then_some(status)
}

fn refuse(batches: Vec<Waiting>, status: &Status) {
    for batch in batches {
        let _ = batch.done.send(Err(Error::Peer(status.clone())));
    }
}

async fn write_tx(
    db: &Database,
    batches: &[&[Placed]],
    (catalogue, now): (Option<Arc<Catalogue>>, DateTime<Utc>),
) -> Result<Vec<Counts>, Error> {
    let events: usize = batches.iter().copied().map(<[Placed]>::len).sum();
    let mut tries = 0;
    loop {
        let written = async {
            let mut tx = if COPY_FROM <= events {
                db.begin_batch().await?
            } else {
                db.begin().await?
            };
            let counts = write(&mut tx, batches, (catalogue.as_deref(), now)).await?;
            tx.commit().await?;
            Ok(counts)
        };
        match written.await {
            // The database has ended one of two deadlocked transactions; it is run again.
            Err(error) if tries < TRIES && chassis::retryable(&error) => tries += 1,
            result => return result,
        }
    }
}

/// An event and the index of the batch it came in.
struct Brought {
    placed: Placed,
    batch: usize,
    /// Its values as they came, where they are kept otherwise as the closing of its root is settled: what was billed
    /// before is compared with these.
    before_settlement: Option<Values>,
}

/// Changes gathered before they are written: changes of sums, and costs to debit.
#[derive(Default)]
struct Gathered<'a> {
    changes: Changes,
    costs: Costs<'a>,
}

/// Writes batches; returns the counts of each.
async fn write(
    db: &mut PgConnection,
    batches: &[&[Placed]],
    (catalogue, now): (Option<&Catalogue>, DateTime<Utc>),
) -> Result<Vec<Counts>, Error> {
    let mut counts = vec![Counts::default(); batches.len()];
    let mut events: Vec<Brought> = Vec::new();
    for (batch, place) in batches.iter().zip(0..) {
        events.extend(batch.iter().map(|it| Brought {
            placed: it.clone(),
            batch: place,
            before_settlement: None,
        }));
    }
    place_in_open_months(db, &mut events).await?;
    keep_unbilled(db, &mut events, &mut counts).await?;
    // Sorted by key, so that two batches never deadlock; the sort is stable, so events of one key stay in order of
    // arrival.
    events.sort_by_key(|it| it.placed.event.key);

    let same_key = |a: &Brought, b: &Brought| a.placed.event.key == b.placed.event.key;
    let firsts: Vec<&Event> = events
        .chunk_by(same_key)
        .filter_map(|same| same.first())
        .map(|it| &it.placed.event)
        .collect();
    let new = store_new(db, &firsts, now).await?;
    let mut gathered = Gathered::default();
    for same in events.chunk_by(same_key) {
        let mut again = same;
        if let [first, rest @ ..] = same
            && new.contains(&first.placed.event.key)
        {
            let (event, own) = (&first.placed.event, count(&mut counts, first.batch));
            let Gathered { changes, costs } = &mut gathered;
            changes.note(sum_key(event), &event.values, 1)?;
            cost(costs, &first.placed, event.values.debited_micros())?;
            own.recorded += 1;
            own.late += late(event);
            note_unbilled(own, &event.values);
            again = rest;
        }
        for it in again {
            let (placed, own) = (&it.placed, count(&mut counts, it.batch));
            let known = store::usage::lock_counting(db, placed.event.key).await?;
            let values = values_of(&known);
            let event = &as_priced_before(&as_billed_before(it, &values), &values, catalogue);
            match usage::arrival(&event.values, Some(&values)) {
                Arrival::New | Arrival::Repeated => own.repeated += 1,
                Arrival::Correction => {
                    correct(db, &mut gathered, (placed, event), &known, now).await?;
                    own.corrected += 1;
                    own.late += late(event);
                }
            }
            note_unbilled(own, &event.values);
        }
    }
    write_gathered(db, &gathered, (catalogue, now)).await?;
    Ok(counts)
}

/// Replaces the stored event `known`, whose row is locked, with `event`, which is placed as `placed`.
async fn correct<'a>(
    db: &mut PgConnection,
    gathered: &mut Gathered<'a>,
    (placed, event): (&'a Placed, &Event),
    known: &Stored,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Gathered { changes, costs } = gathered;
    let values = values_of(known);
    // The difference goes to the month in which the new values are billed: a closed month keeps the values it was
    // billed on.
    let old = SumKey {
        root: event.key.root,
        billing_month: event.billing_month,
        day: placed.zone.day(known.used_at),
        category: values.category.clone(),
    };
    changes.note(old, &values, -1)?;
    changes.note(sum_key(event), &event.values, 1)?;
    let debited = values.debited_micros();
    let more = event.values.debited_micros().checked_sub(debited);
    cost(costs, placed, more.ok_or(SumOutOfRange)?)?;
    store::usage::supersede(db, known, event, now).await?;
    Ok(())
}

/// Writes the changes of sums, and debits or credits balances.
async fn write_gathered(
    db: &mut PgConnection,
    gathered: &Gathered<'_>,
    (catalogue, now): (Option<&Catalogue>, DateTime<Utc>),
) -> Result<(), Error> {
    store::usage::add(db, &gathered.changes).await??;
    if !gathered.costs.is_empty() {
        let catalogue = catalogue.ok_or(Error::Stored("catalogue of rated usage"))?;
        spend::usage(db, catalogue, &gathered.costs, now).await?;
    }
    Ok(())
}

/// Removes the events of erased accounts, which are reported, and marks usage at or after the closing of its account
/// as kept without being billed (D28). The months of the events are held, so no account closes meanwhile.
async fn keep_unbilled(
    db: &mut PgConnection,
    events: &mut Vec<Brought>,
    counts: &mut [Counts],
) -> Result<(), Error> {
    let closed = closed_of(db, events).await?;
    if closed.is_empty() {
        return Ok(());
    }
    events.retain(|it| {
        let Values { account, .. } = it.placed.event.values;
        let erased = closed.get(&account).is_some_and(|it| it.erased);
        if erased {
            let told = (it.placed.event.event_id.clone(), account);
            count(counts, it.batch).erased.push(told);
        }
        !erased
    });
    let mut roots = BTreeSet::new();
    for Brought { placed, .. } in &mut *events {
        let values = &mut placed.event.values;
        if let Some(closed) = closed.get(&values.account) {
            *values = values.clone().kept(closed.closed_at);
            if values.rated && !values.unbilled {
                roots.insert(placed.event.key.root);
            }
        }
    }
    keep_after_settlement(db, events, roots).await
}

/// Lets what we rate be kept without being billed that arrives after the closing of one of `roots` was settled (D14).
/// The closing of an account goes on after it was told: their balances are locked, so that none is settled meanwhile.
async fn keep_after_settlement(
    db: &mut PgConnection,
    events: &mut [Brought],
    roots: BTreeSet<Uuid>,
) -> Result<(), Error> {
    if roots.is_empty() {
        return Ok(());
    }
    let roots: Vec<Uuid> = roots.into_iter().collect();
    ledger::lock(db, &roots).await?;
    let settled = closings::among(db, &roots).await?;
    let late = events
        .iter_mut()
        .filter(|it| settled.contains(&it.placed.event.key.root))
        .filter(|it| !it.placed.event.values.unbilled);
    for it in late {
        let came = it.placed.event.values.clone();
        it.placed.event.values = came.clone().kept_after_settlement();
        it.before_settlement = Some(came);
    }
    Ok(())
}

/// The closed accounts among those of `events`, by id.
async fn closed_of(
    db: &mut PgConnection,
    events: &[Brought],
) -> Result<HashMap<Uuid, Closed>, Error> {
    let accounts: HashSet<Uuid> = events
        .iter()
        .map(|it| it.placed.event.values.account)
        .collect();
    let accounts: Vec<Uuid> = accounts.into_iter().collect();
    let closed = store::accounts::closed_among(db, &accounts).await?;
    Ok(closed.into_iter().map(|it| (it.account_id, it)).collect())
}

/// Takes usage out of the bill that lies at or after the closing of its account and was recorded before billing
/// learned of the closing (D28): it leaves the sums, and what the balance paid for it is credited. Covers `account`
/// and the other accounts of its root from the month of `from`. Safe to repeat. Returns the number of events taken
/// out.
pub async fn unbill(ctx: &Ctx, account: &Account, from: DateTime<Utc>) -> Result<i64, Error> {
    let catalogue = ctx.active_catalogue().await?;
    let zone = Zone::parse(&account.time_zone).map_err(|_| Error::Stored("time zone"))?;
    let profile: Arc<str> = account.profile_code.as_str().into();
    let months = (account.root_id, usage::month_of(zone.day(from)));
    let now = ctx.clock.now().await?;
    let mut unbilled = 0;
    loop {
        let mut tx = ctx.db.begin().await?;
        let found = store::usage::list_to_unbill(&mut tx, months, UNBILLED_TOGETHER).await?;
        let mut events: Vec<Brought> = found
            .iter()
            .map(|stored| Brought {
                placed: as_placed(stored, zone, &profile),
                batch: 0,
                before_settlement: None,
            })
            .collect();
        if !events.is_empty() {
            unbilled += take_out(&mut tx, &mut events, &found, (&catalogue, now)).await?;
        }
        tx.commit().await?;
        if found.is_empty() {
            return Ok(unbilled);
        }
    }
}

/// Takes the stored events `found` out of the bill. An event corrected meanwhile is left for the next pass.
async fn take_out(
    db: &mut PgConnection,
    events: &mut [Brought],
    found: &[Stored],
    (catalogue, now): (&Catalogue, DateTime<Utc>),
) -> Result<i64, Error> {
    place_in_open_months(db, events).await?;
    let closed = closed_of(db, events).await?;
    let mut gathered = Gathered::default();
    let mut taken = 0;
    for (Brought { placed, .. }, stored) in events.iter().zip(found) {
        let known = store::usage::lock_counting(db, placed.event.key).await?;
        let closed = closed.get(&known.account_id);
        let Some(closed) = closed.filter(|_| known.revision == stored.revision) else {
            continue;
        };
        let mut event = placed.event.clone();
        event.values = event.values.kept(closed.closed_at);
        correct(db, &mut gathered, (placed, &event), &known, now).await?;
        taken += 1;
    }
    write_gathered(db, &gathered, (Some(catalogue), now)).await?;
    Ok(taken)
}

/// Turns a stored event into one that has just arrived.
fn as_placed(stored: &Stored, zone: Zone, profile: &Arc<str>) -> Placed {
    let key = EventKey {
        root: stored.root_id,
        month: stored.usage_month,
        key: stored.event_key,
    };
    Placed {
        event: Event {
            key,
            source: stored.source.as_str().into(),
            event_id: stored.event_id.clone(),
            values: values_of(stored),
            day: zone.day(stored.used_at),
            billing_month: stored.usage_month,
        },
        profile: profile.clone(),
        zone,
    }
}

/// Counts an event that is kept without being billed.
fn note_unbilled(counts: &mut Counts, values: &Values) {
    if values.unbilled {
        counts.unbilled += 1;
        counts.unbilled_accounts.insert(values.account);
    }
}

/// An event that is known already, as it came where it was billed before: what was settled by its closing stays so.
fn as_billed_before(it: &Brought, known: &Values) -> Event {
    let mut event = it.placed.event.clone();
    if let Some(came) = it.before_settlement.as_ref().filter(|_| !known.unbilled) {
        event.values = came.clone();
    }
    event
}

/// An event that is known already, by the price that it was rated by: a rate that changed since changes nothing of it.
/// What is not billed was never rated.
fn as_priced_before(event: &Event, known: &Values, catalogue: Option<&Catalogue>) -> Event {
    let mut event = event.clone();
    let unit = Unit::of(&event.values.category);
    let billed = !event.values.unbilled && !known.unbilled;
    let rated = event.values.rated && known.rated;
    let same = billed && rated && unit == Unit::of(&known.category);
    let rates = catalogue.and_then(|it| it.rates.as_ref()).zip(unit);
    if let Some((rates, unit)) = rates.filter(|_| same) {
        let earlier = (known.quantity_micros, known.price_micros);
        let price = price_as(unit, earlier, event.values.quantity_micros, rates);
        event.values.price_micros = price.unwrap_or(event.values.price_micros);
    }
    event
}

/// Adds the change in cost of an event to the costs of its root account.
fn cost<'a>(costs: &mut Costs<'a>, placed: &'a Placed, micros: i64) -> Result<(), Error> {
    if micros != 0 {
        let sum = costs
            .entry((placed.event.key.root, placed.profile.as_ref()))
            .or_default();
        *sum = sum.checked_add(micros).ok_or(SumOutOfRange)?;
    }
    Ok(())
}

/// Assigns each event its billing month, and holds these months open until the end of the transaction.
async fn place_in_open_months(db: &mut PgConnection, events: &mut [Brought]) -> Result<(), Error> {
    let mut months: HashSet<NaiveDate> =
        events.iter().map(|it| it.placed.event.key.month).collect();
    let earliest = months.iter().min().copied().unwrap_or_default();
    let profiles: HashSet<&str> = events.iter().map(|it| it.placed.profile.as_ref()).collect();
    let profiles: Vec<String> = profiles.into_iter().map(str::to_owned).collect();
    let roots: HashSet<Uuid> = events.iter().map(|it| it.placed.event.key.root).collect();
    let roots: Vec<Uuid> = roots.into_iter().collect();
    // The month that late usage joins must be held too, and may have closed before it was.
    let mut held = HashSet::new();
    while !months.is_subset(&held) {
        held.extend(months.drain());
        let together: Vec<NaiveDate> = held.iter().copied().collect();
        store::usage::hold_months(db, &together, &roots).await?;
        let closed = store::usage::closed_months(db, &profiles, earliest).await?;
        for Brought { placed, .. } in &mut *events {
            let closed = closed
                .get(placed.profile.as_ref())
                .map_or(&[][..], Vec::as_slice);
            placed.event.billing_month = usage::billing_month(placed.event.key.month, closed);
        }
        months.extend(events.iter().map(|it| it.placed.event.billing_month));
    }
    Ok(())
}

fn count(counts: &mut [Counts], batch: usize) -> &mut Counts {
    counts
        .get_mut(batch)
        .expect("counts has one element per batch")
}

/// Stores the events whose keys are new and returns those keys. A large batch is first written by COPY on the
/// assumption that all keys are new, which holds unless it repeats an earlier batch.
async fn store_new(
    db: &mut PgConnection,
    firsts: &[&Event],
    now: DateTime<Utc>,
) -> Result<HashSet<EventKey>, Error> {
    if COPY_FROM <= firsts.len() {
        db.savepoint().await?;
        match store::usage::copy_new(db, firsts, now).await {
            Ok(()) => return Ok(firsts.iter().map(|event| event.key).collect()),
            Err(error) if store::violated(&error) == Some("usage_events_pkey") => {
                db.rollback_to_savepoint().await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let new = store::usage::insert_new(db, firsts, now).await?;
    Ok(new.into_iter().collect())
}

fn values_of(stored: &Stored) -> Values {
    Values {
        account: stored.account_id,
        category: stored.category.clone(),
        used_at: stored.used_at,
        quantity_micros: stored.quantity_micros,
        price_micros: stored.price_micros,
        rated: stored.rated,
        unbilled: stored.unbilled,
    }
}

fn sum_key(event: &Event) -> SumKey {
    SumKey {
        root: event.key.root,
        billing_month: event.billing_month,
        day: event.day,
        category: event.values.category.clone(),
    }
}

fn late(event: &Event) -> i64 {
    i64::from(!event.values.unbilled && event.key.month < event.billing_month)
}
