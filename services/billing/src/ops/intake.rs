//! Placed events, written: batches that arrive while the database is busy share one transaction.
//!
//! Invariants: a batch is written all of it or nothing; a batch at fault never takes another with
//! it; a caller that goes away leaves its batch to be written.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::Refusal;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{Semaphore, oneshot};
use tonic::{Code, Status};

use super::ingest::{Counts, Placed};
use super::spend::{self, Costs};
use crate::clients::Catalogue;
use crate::domain::unit_price::{Unit, price_as};
use crate::domain::usage::{self, Arrival, Changes, EventKey, SumKey, SumOutOfRange, Values};
use crate::error::Error;
use crate::store;
use crate::store::usage::{Event, Stored};

/// Transactions at a time.
const WRITERS: usize = 4;
/// The most events that batches share a transaction with; a single batch may have more.
const TOGETHER_MAX: usize = 10_000;
/// Events that wait before more are refused: the database is away, or slower than they come.
const QUEUED_MAX: usize = 200_000;
/// After what time a refused batch may be sent again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How often a transaction that the database has ended is run again.
const TRIES: u32 = 3;
/// From how many events on COPY is worth its round trips.
const COPY_FROM: usize = 200;

/// Batches that wait to be written.
pub struct Intake {
    waiting: Mutex<VecDeque<Waiting>>,
    turns: Semaphore,
}

struct Waiting {
    events: Vec<Placed>,
    /// By which the balances pay for rated events; there where there are some.
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
    /// Writes a batch, alone when nobody else is waiting, else together with those who are.
    pub async fn record(
        &self,
        db: &PgPool,
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
            let message = "too much usage is waiting to be written".to_owned();
            return Err(Error::Peer(refusal.into_status("billing.perdiem", message)));
        }
        if let Ok(_turn) = self.turns.acquire().await {
            // Each that waited gets a turn and takes at least one batch, so that none stays behind.
            let taken = self.queue(take_together);
            if !taken.is_empty() {
                write_all(db, taken).await;
            }
        }
        // Dropped only by a panic of whoever had taken it.
        counted
            .await
            .unwrap_or(Err(Error::Stored("batch of usage")))
    }

    fn queue<T>(&self, with: impl FnOnce(&mut VecDeque<Waiting>) -> T) -> T {
        with(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes the first batch, and as many more as fit beside it.
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

/// Writes batches in one transaction; when that fails, each in its own.
async fn write_all(db: &PgPool, taken: Vec<Waiting>) {
    if let [_, _, ..] = taken.as_slice() {
        let batches: Vec<&[Placed]> = taken.iter().map(|it| it.events.as_slice()).collect();
        let now = taken.iter().map(|it| it.now).max().unwrap_or_default();
        let catalogue = taken.iter().find_map(|it| it.catalogue.clone());
        match write_tx(db, &batches, (catalogue, now)).await {
            Ok(counts) => {
                for (batch, counts) in taken.into_iter().zip(counts) {
                    let _ = batch.done.send(Ok(counts)); // Nobody waits any more: it is written.
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
        let counts = counts.map(|counts| counts.first().copied().unwrap_or_default());
        let _ = batch.done.send(counts);
        if let Some(status) = away {
            return refuse(left.collect(), &status);
        }
    }
}

/// What every batch is told when the database is away: each would wait for it in vain.
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
    db: &PgPool,
    batches: &[&[Placed]],
    (catalogue, now): (Option<Arc<Catalogue>>, DateTime<Utc>),
) -> Result<Vec<Counts>, Error> {
    let mut tries = 0;
    loop {
        let written = async {
            let mut tx = db.begin().await?;
            let counts = write(&mut tx, batches, (catalogue.as_deref(), now)).await?;
            tx.commit().await?;
            Ok(counts)
        };
        match written.await {
            // Two that met in a circle: the database has ended one, which is run again.
            Err(error) if tries < TRIES && chassis::retryable(&error) => tries += 1,
            result => return result,
        }
    }
}

/// An event and the batch that brought it.
struct Brought {
    placed: Placed,
    batch: usize,
}

/// Writes batches; gives what became of each.
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
        }));
    }
    place_in_open_months(db, &mut events).await?;
    // In order of key, so that two batches never wait in a circle; of one key in order of arrival.
    events.sort_by_key(|it| it.placed.event.key);

    let same_key = |a: &Brought, b: &Brought| a.placed.event.key == b.placed.event.key;
    let firsts: Vec<&Event> = events
        .chunk_by(same_key)
        .filter_map(|same| same.first())
        .map(|it| &it.placed.event)
        .collect();
    let new = store_new(db, &firsts, now).await?;
    let mut changes = Changes::default();
    let mut costs = Costs::new();
    for same in events.chunk_by(same_key) {
        let mut again = same;
        if let [first, rest @ ..] = same
            && new.contains(&first.placed.event.key)
        {
            let (event, own) = (&first.placed.event, count(&mut counts, first.batch));
            changes.note(sum_key(event), &event.values, 1)?;
            cost(&mut costs, &first.placed, event.values.debited_micros())?;
            own.recorded += 1;
            own.late += late(event);
            again = rest;
        }
        for Brought { placed, batch } in again {
            let (Placed { event, zone, .. }, own) = (placed, count(&mut counts, *batch));
            let known = store::usage::lock_counting(db, event.key).await?;
            let values = values_of(&known);
            let event = &as_priced_before(event, &values, catalogue);
            match usage::arrival(&event.values, Some(&values)) {
                Arrival::New | Arrival::Repeated => own.repeated += 1,
                Arrival::Correction => {
                    // In the month that the new values are billed in, the difference: a month that
                    // is closed keeps what it was billed on.
                    let old = SumKey {
                        root: event.key.root,
                        billing_month: event.billing_month,
                        day: zone.day(known.used_at),
                        category: values.category.clone(),
                    };
                    changes.note(old, &values, -1)?;
                    changes.note(sum_key(event), &event.values, 1)?;
                    let debited = values.debited_micros();
                    let more = event.values.debited_micros().checked_sub(debited);
                    cost(&mut costs, placed, more.ok_or(SumOutOfRange)?)?;
                    store::usage::supersede(db, &known, event, now).await?;
                    own.corrected += 1;
                    own.late += late(event);
                }
            }
        }
    }
    store::usage::add(db, &changes).await??;
    if !costs.is_empty() {
        let catalogue = catalogue.ok_or(Error::Stored("catalogue of rated usage"))?;
        spend::usage(db, catalogue, &costs, now).await?;
    }
    Ok(counts)
}

/// An event that is known already, by the price that it was rated by: a rate that changed since changes nothing of it.
fn as_priced_before(event: &Event, known: &Values, catalogue: Option<&Catalogue>) -> Event {
    let mut event = event.clone();
    let unit = Unit::of(&event.values.category);
    let same = event.values.rated && known.rated && unit == Unit::of(&known.category);
    let rates = catalogue.and_then(|it| it.rates.as_ref()).zip(unit);
    if let Some((rates, unit)) = rates.filter(|_| same) {
        let earlier = (known.quantity_micros, known.price_micros);
        let price = price_as(unit, earlier, event.values.quantity_micros, rates);
        event.values.price_micros = price.unwrap_or(event.values.price_micros);
    }
    event
}

/// Notes what an event has cost the balance more than before.
fn cost<'a>(costs: &mut Costs<'a>, placed: &'a Placed, micros: i64) -> Result<(), Error> {
    if micros != 0 {
        let sum = costs
            .entry((placed.event.key.root, placed.profile.as_ref()))
            .or_default();
        *sum = sum.checked_add(micros).ok_or(SumOutOfRange)?;
    }
    Ok(())
}

/// Gives each event the month that it is billed in, and holds these months open until the end of the
/// transaction.
async fn place_in_open_months(db: &mut PgConnection, events: &mut [Brought]) -> Result<(), Error> {
    let mut months: HashSet<NaiveDate> =
        events.iter().map(|it| it.placed.event.key.month).collect();
    let earliest = months.iter().min().copied().unwrap_or_default();
    let profiles: HashSet<&str> = events.iter().map(|it| it.placed.profile.as_ref()).collect();
    let profiles: Vec<String> = profiles.into_iter().map(str::to_owned).collect();
    // The month that late usage joins is held too, and may have closed until it was.
    let mut held = HashSet::new();
    while !months.is_subset(&held) {
        held.extend(months.drain());
        store::usage::hold_months(db, &held.iter().copied().collect::<Vec<_>>()).await?;
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
    counts.get_mut(batch).expect("each batch has its counts")
}

/// Stores the events whose keys are new and gives these keys. Many are taken to be all new, as they
/// are but for a repetition.
async fn store_new(
    db: &mut PgConnection,
    firsts: &[&Event],
    now: DateTime<Utc>,
) -> Result<HashSet<EventKey>, Error> {
    if COPY_FROM <= firsts.len() {
        store::savepoint(db).await?;
        match store::usage::copy_new(db, firsts, now).await {
            Ok(()) => return Ok(firsts.iter().map(|event| event.key).collect()),
            Err(error) if store::violated(&error) == Some("usage_events_pkey") => {
                store::rollback_to_savepoint(db).await?;
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
    i64::from(event.key.month < event.billing_month)
}
