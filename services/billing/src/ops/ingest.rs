//! Reads usage events and assigns them to accounts and months. A batch is recorded as a whole or not at all.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use chassis::{FieldError, field_error, wire};
use chrono::{DateTime, Months, TimeDelta, Utc};
use proto::billing::v1 as pb;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;
use values::{AccountId, Amount, Currency, Zone};

use crate::clients::Catalogue;
use crate::ctx::{AccountFacts, Ctx};
use crate::domain::unit_price::{ONE, Unit, parts, price};
use crate::domain::usage::{self, EventKey, Values};
use crate::error::Error;
use crate::store;
use crate::store::usage::Event;

/// The most events in a batch.
const EVENTS_MAX: usize = 10_000;
/// The oldest accepted usage, in months before now (D17, D14).
const MONTHS_BACK: Months = Months::new(25);
/// How far a source's clock may be ahead of ours.
const AHEAD: TimeDelta = TimeDelta::days(1);
/// The most characters in a message text.
const MESSAGE_MAX: usize = 1_600;
/// The most accounts in the cache before it is cleared.
const ACCOUNTS_MAX: usize = 200_000;
/// The most faults reported at once.
const FAULTS_MAX: usize = 20;

/// Outcome of a batch, in numbers of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// New events.
    pub recorded: i64,
    /// Events known already with the same values.
    pub repeated: i64,
    /// Events that replaced earlier values.
    pub corrected: i64,
    /// Events billed in a later month than their own.
    pub late: i64,
    /// Events kept without being billed, among all above, because they lie at or after the closing of their account.
    pub unbilled: i64,
    /// The accounts of the unbilled events.
    pub unbilled_accounts: BTreeSet<Uuid>,
    /// Events not recorded because the data of their account are erased: event id and account.
    pub erased: Vec<(String, Uuid)>,
}

/// Records a batch of usage events from one source.
///
/// # Errors
/// `Fields` with up to 20 faults by index of event; `AccountNotFound`; `CurrencyDiffers`; `OVERLOADED` if too much
/// usage waits.
pub async fn record(
    ctx: &Ctx,
    source: &str,
    events: &[pb::UsageEvent],
    now: DateTime<Utc>,
) -> Result<Counts, Error> {
    let source: Arc<str> = code("source", source)?.into();
    if events.is_empty() || EVENTS_MAX < events.len() {
        return Err(field_error("events", "1 to 10000 events").into());
    }
    let mut read = read(events, now)?;
    let catalogue = rate(ctx, &mut read).await?;
    let accounts = accounts(ctx, &read).await?;
    let mut events = Vec::with_capacity(read.len());
    for (index, event) in read.into_iter().enumerate() {
        events.push(placed(&source, index, event, &accounts)?);
    }
    let debits = catalogue.is_some();
    let counts = ctx.intake.record(&ctx.db, events, (catalogue, now)).await?;
    if debits {
        // A balance may now be low enough for auto-recharge.
        ctx.wake.notify_waiters();
    }
    Ok(counts)
}

/// An event with its fields parsed.
struct Read<'a> {
    event_id: &'a str,
    values: Values,
    currency: Option<Currency>,
}

/// Parses every event. Faults are collected by index, up to a limit.
fn read(events: &[pb::UsageEvent], now: DateTime<Utc>) -> Result<Vec<Read<'_>>, Error> {
    let mut read = Vec::with_capacity(events.len());
    let mut faults = Vec::new();
    let earliest = now.checked_sub_months(MONTHS_BACK).unwrap_or(now);
    for (index, event) in events.iter().enumerate() {
        match read_one(event, earliest, now + AHEAD) {
            Ok(event) => read.push(event),
            Err(FieldError { field, expected }) => {
                faults.push(field_error(format!("events[{index}].{field}"), expected));
            }
        }
        if FAULTS_MAX <= faults.len() {
            break;
        }
    }
    if faults.is_empty() {
        Ok(read)
    } else {
        Err(Error::Fields(faults))
    }
}

fn read_one(
    event: &pb::UsageEvent,
    earliest: DateTime<Utc>,
    latest: DateTime<Utc>,
) -> Result<Read<'_>, FieldError> {
    let event_id = wire::text("event_id", &event.event_id, 128)?;
    let account: AccountId = wire::id("account_id", &event.account_id)?;
    let category = code("category", &event.category)?;
    let used_at = wire::instant("usage_time", event.usage_time)?;
    if used_at < earliest || latest < used_at {
        return Err(field_error(
            "usage_time",
            "at most 25 months ago and at most a day ahead",
        ));
    }
    let quantity_micros = quantity_micros(event)?;
    let price = match &event.price {
        Some(price) => Some(wire::amount("price", price)?),
        None => None,
    };
    Ok(Read {
        event_id,
        values: Values {
            account: account.uuid(),
            category: category.to_owned(),
            used_at,
            quantity_micros,
            price_micros: price.map_or(0, Amount::micros),
            rated: price.is_none(),
            unbilled: false,
        },
        currency: price.map(Amount::currency),
    })
}

/// The quantity in millionths: as sent, or the number of parts of the message text.
fn quantity_micros(event: &pb::UsageEvent) -> Result<i64, FieldError> {
    let Some(text) = &event.message_text else {
        // Any currency parses six decimal places.
        let quantity = Amount::parse(&event.quantity, Currency::Usd)
            .map_err(|_| field_error("quantity", "a plain decimal of at most 6 places"))?;
        return Ok(quantity.micros());
    };
    if !event.quantity.is_empty() {
        return Err(field_error(
            "quantity",
            "no quantity if message_text is set",
        ));
    }
    let expected = "at most 1600 characters, in a category of sms only";
    if Unit::of(&event.category) != Some(Unit::Parts) || MESSAGE_MAX < text.chars().count() {
        return Err(field_error("message_text", expected));
    }
    i64::try_from(parts(text))
        .ok()
        .and_then(|parts| parts.checked_mul(ONE))
        .ok_or_else(|| field_error("message_text", expected))
}

/// Rates the events that have no price by the catalogue in force. Faults are collected by index, up to a limit.
/// Returns the catalogue if there were such events.
async fn rate(ctx: &Ctx, events: &mut [Read<'_>]) -> Result<Option<Arc<Catalogue>>, Error> {
    if events.iter().all(|event| !event.values.rated) {
        return Ok(None);
    }
    let catalogue = ctx.active_catalogue().await?;
    let mut faults = Vec::new();
    for (index, event) in events.iter_mut().enumerate() {
        let values = &mut event.values;
        if !values.rated {
            continue;
        }
        let unit = Unit::of(&values.category).zip(catalogue.rates.as_ref());
        let Some((unit, rates)) = unit else {
            let expected = "a price, because the catalogue has no rate for this category";
            faults.push(field_error(format!("events[{index}].price"), expected));
            continue;
        };
        let fits = |micros: &i64| micros.unsigned_abs() <= wire::MICROS_MAX.unsigned_abs();
        match price(unit, values.quantity_micros, rates).filter(fits) {
            Some(micros) => {
                values.price_micros = micros;
                event.currency = Some(rates.currency);
            }
            None => faults.push(field_error(
                format!("events[{index}].quantity"),
                "a smaller quantity",
            )),
        }
    }
    faults.truncate(FAULTS_MAX);
    if faults.is_empty() {
        Ok(Some(catalogue))
    } else {
        Err(Error::Fields(faults))
    }
}

/// Checks the name of a source or category: 1 to 64 of a-z, 0-9, '-', '_'.
fn code<'a>(field: &str, text: &'a str) -> Result<&'a str, FieldError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) {
        return Ok(text);
    }
    Err(field_error(field, "1 to 64 of a-z, 0-9, '-', '_'"))
}

/// The accounts of a batch, from the cache or the database.
async fn accounts(ctx: &Ctx, events: &[Read<'_>]) -> Result<HashMap<Uuid, AccountFacts>, Error> {
    let mut known = HashMap::new();
    let mut unknown = HashSet::new();
    if let Ok(cache) = ctx.accounts.read() {
        for event in events {
            match cache.get(&event.values.account) {
                Some(facts) => {
                    known.insert(event.values.account, facts.clone());
                }
                None => {
                    unknown.insert(event.values.account);
                }
            }
        }
    }
    if unknown.is_empty() {
        return Ok(known);
    }
    let unknown: Vec<Uuid> = unknown.into_iter().collect();
    let mut profiles: HashMap<String, Arc<str>> = HashMap::new();
    let mut found = Vec::new();
    for account in store::accounts::get_all(&mut ctx.db.acquire().await?, &unknown).await? {
        let zone = Zone::parse(&account.time_zone).map_err(|_| Error::Stored("time zone"))?;
        let facts = AccountFacts {
            root: account.root_id,
            profile: profiles
                .entry(account.profile_code)
                .or_insert_with_key(|code| code.as_str().into())
                .clone(),
            zone,
            currency: store::currency(&account.currency)?,
            created_on: zone.day(account.created_at),
        };
        found.push((account.account_id, facts));
    }
    if let Ok(mut cache) = ctx.accounts.write() {
        if ACCOUNTS_MAX < cache.len() {
            cache.clear();
        }
        cache.extend(found.iter().cloned());
    }
    known.extend(found);
    Ok(known)
}

/// An event assigned to its root account, day and month.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The event.
    pub event: Event,
    /// The profile of its account.
    pub profile: Arc<str>,
    /// The time zone in which its day is computed.
    pub zone: Zone,
}

fn placed(
    source: &Arc<str>,
    index: usize,
    read: Read<'_>,
    accounts: &HashMap<Uuid, AccountFacts>,
) -> Result<Placed, Error> {
    let account = AccountId::from_uuid(read.values.account);
    let facts = accounts
        .get(&read.values.account)
        .ok_or(Error::AccountNotFound(account))?;
    if read
        .currency
        .is_some_and(|currency| currency != facts.currency)
    {
        return Err(Error::CurrencyDiffers {
            event: index,
            account,
            currency: facts.currency.code(),
        });
    }
    let day = facts.zone.day(read.values.used_at);
    if day < facts.created_on {
        let expected = format!(
            "a time not before the account was created, {}",
            facts.created_on
        );
        return Err(field_error(format!("events[{index}].usage_time"), expected).into());
    }
    let month = usage::month_of(day);
    let key = EventKey {
        root: facts.root,
        month,
        key: event_key(source, read.event_id),
    };
    let event = Event {
        key,
        source: source.clone(),
        event_id: read.event_id.to_owned(),
        values: read.values,
        day,
        billing_month: month,
    };
    Ok(Placed {
        event,
        profile: facts.profile.clone(),
        zone: facts.zone,
    })
}

/// The key of an event: the first 16 bytes of SHA-256 over source and event id, separated by a zero byte.
fn event_key(source: &str, event_id: &str) -> Uuid {
    let digest = Sha256::new()
        .chain_update(source)
        .chain_update([0])
        .chain_update(event_id)
        .finalize();
    Uuid::from_slice(digest.get(..16).unwrap_or_default()).unwrap_or_default()
}
