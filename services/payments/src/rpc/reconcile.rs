//! `PaymentsService.Reconcile`
//!
//! Compares our movements in a time range with the provider's book. With `apply`, differing movements are looked up,
//! which resolves what the provider can confirm; nothing is changed on the word of the book alone.

use std::collections::{HashMap, HashSet};

use chassis::{Call, Unit, field_error, wire};
use chrono::{DateTime, TimeDelta, Utc};
use proto::payments::v1 as pb;
use proto::payments::v1::reconcile_response::Difference;
use proto::payments::v1::reconcile_response::difference::Kind;
use uuid::Uuid;
use values::{AccountId, ChargeId, Currency, Money, RefundId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::movement::{self, Answer, State};
use crate::error::Error;
use crate::ops::{look_up, payer};
use crate::providers::BookEntry;
use crate::store::Tenant;
use crate::store::movements::{self, Movement};

/// Longest time range per call.
const DAYS_MAX: TimeDelta = TimeDelta::days(31);
/// Maximum of differences returned.
const TOLD_MAX: usize = 1_000;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReconcileRequest>,
) -> Result<pb::ReconcileResponse, Error> {
    let request = &call.message;
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let from = wire::instant("start_time", request.start_time)?;
    let until = wire::instant("end_time", request.end_time)?;
    if until <= from || DAYS_MAX < until - from {
        return Err(field_error("end_time", "later than start_time, by 31 days at most").into());
    }
    let provider = wire::optional_code("provider_code", &request.provider_code)?;
    let code = provider.unwrap_or(ctx.default_provider);
    let book = ctx.provider(code)?.book(from, until).await;
    let book = book.map_err(|_| Error::ProviderUnavailable(code.to_owned()))?;
    let ours = ours(&ctx, account, code, (from, until)).await?;

    let mut differences = compared(code, &ours, &book)?;
    for movement in missing_there(&ctx, code, &ours, &book).await? {
        let difference = Difference {
            kind: Kind::MissingThere.into(),
            ..shown(movement, code)?
        };
        differences.push((difference, None));
    }
    // The book does not show accounts, so unknown entries can't be attributed to one.
    if account.is_none() {
        differences.extend(missing_here(&ctx, code, &book).await?);
    }
    if request.apply {
        for (difference, movement) in &mut differences {
            if let Some(movement) = movement {
                difference.mended = mend(&ctx, movement, &difference.provider_movement_id).await?;
            }
        }
    }
    let count = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
    let answer = pb::ReconcileResponse {
        difference_count: count(differences.len()),
        movement_count: count(ours.len()),
        differences: differences
            .into_iter()
            .map(|(it, _)| it)
            .take(TOLD_MAX)
            .collect(),
    };
    let unit: Unit = call.step::<Error>(&ctx.db).await?;
    Ok(unit.commit(answer).await?)
}

async fn ours(
    ctx: &Ctx,
    account: Option<AccountId>,
    provider: &str,
    stretch: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<Movement>, Error> {
    let mut tx = ctx.db.begin().await?;
    let root = payer::entered_or_all(&mut tx, account).await?;
    let ours = movements::sent_between(&mut tx, stretch, root, provider).await?;
    tx.commit().await?;
    Ok(ours)
}

/// Looks up a movement that differs from the book. Returns whether that changed it. A book entry is only a hint: a
/// refused one may be an attempt after which the customer tries again.
async fn mend(ctx: &Ctx, movement: &Movement, provider_id: &str) -> Result<bool, Error> {
    look_up::look_up(ctx, movement, provider_id).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(movement.root_id)).await?;
    let now = movements::get(&mut tx, movement.root_id, movement.movement_id).await?;
    tx.commit().await?;
    let told = |it: &Movement| (it.state, it.overturned_at);
    Ok(now.is_some_and(|now| told(&now) != told(movement)))
}

/// Differences between our movements and the book's entries for them, oldest first.
fn compared<'m>(
    provider: &str,
    ours: &'m [Movement],
    book: &[BookEntry],
) -> Result<Vec<(Difference, Option<&'m Movement>)>, Error> {
    let mut there: HashMap<Uuid, &BookEntry> = HashMap::new();
    for entry in book {
        let known = there.entry(entry.reference).or_insert(entry);
        // A customer may try several times; the attempt that progressed furthest counts.
        if weight(&known.answer) <= weight(&entry.answer) {
            *known = entry;
        }
    }
    let mut differences = Vec::new();
    for movement in ours {
        let expected = expected(movement)?;
        let Some(entry) = there.get(&movement.provider_key) else {
            continue;
        };
        let said = said(&entry.answer);
        // A returned movement is a known contradiction.
        if movement.overturned_at.is_some() && movement.settled_minor.is_some() {
            continue;
        }
        let differs = if entry.money != expected && said != State::Declined {
            Kind::Amount
        } else if said == movement.state {
            continue;
        } else {
            Kind::State
        };
        let difference = Difference {
            kind: differs.into(),
            provider_movement_id: entry.provider_id.clone(),
            provider_state: convert::state(said).into(),
            provider_amount: Some(wire::pb_money(entry.money)),
            ..shown(movement, provider)?
        };
        differences.push((difference, Some(movement)));
    }
    Ok(differences)
}

/// The sum that the book should have of a movement: what was asked for, or what has moved, where an operator has settled
/// that it was another.
fn expected(movement: &Movement) -> Result<Money, Error> {
    let asked = movement.asked().ok_or(Error::Stored("currency"))?.money;
    let settled = movement
        .settled_minor
        .filter(|_| movement.state == State::Succeeded);
    Ok(settled.map_or(asked, |minor| Money::from_minor(minor, asked.currency())))
}

/// Ours that have succeeded and that the book does not have, also when looked up one by one: the
/// book's time of a movement may lie outside the stretch that was read.
async fn missing_there<'m>(
    ctx: &Ctx,
    provider: &str,
    ours: &'m [Movement],
    book: &[BookEntry],
) -> Result<Vec<&'m Movement>, Error> {
    let there: HashSet<Uuid> = book.iter().map(|it| it.reference).collect();
    let mut missing = Vec::new();
    for movement in ours {
        if movement.state != State::Succeeded || there.contains(&movement.provider_key) {
            continue;
        }
        let sought = look_up::sought(ctx, movement).await?;
        let found = ctx.provider(provider)?.look_up(&sought).await;
        if found
            .map_err(|_| Error::ProviderUnavailable(provider.to_owned()))?
            .is_none()
        {
            missing.push(movement);
        }
    }
    Ok(missing)
}

/// Book entries that we lack, regardless of when they were created.
async fn missing_here(
    ctx: &Ctx,
    provider: &str,
    book: &[BookEntry],
) -> Result<Vec<(Difference, Option<&'static Movement>)>, Error> {
    let keys: Vec<Uuid> = book.iter().map(|it| it.reference).collect();
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let known: HashSet<Uuid> = movements::known_keys(&mut tx, &keys)
        .await?
        .into_iter()
        .collect();
    tx.commit().await?;
    let strangers = book.iter().filter(|it| !known.contains(&it.reference));
    let told = strangers.map(|entry| {
        let difference = Difference {
            kind: Kind::MissingHere.into(),
            provider_code: provider.to_owned(),
            provider_movement_id: entry.provider_id.clone(),
            provider_state: convert::state(said(&entry.answer)).into(),
            provider_amount: Some(wire::pb_money(entry.money)),
            ..Difference::default()
        };
        (difference, None)
    });
    Ok(told.collect())
}

fn shown(movement: &Movement, provider: &str) -> Result<Difference, Error> {
    let currency: Currency = movement
        .currency
        .parse()
        .map_err(|_| Error::Stored("currency"))?;
    let id = movement.movement_id;
    Ok(Difference {
        account_id: AccountId::from_uuid(movement.root_id).to_string(),
        movement_id: match movement.kind {
            movement::Kind::Charge => ChargeId::from_uuid(id).to_string(),
            movement::Kind::Refund => RefundId::from_uuid(id).to_string(),
        },
        provider_code: provider.to_owned(),
        state: convert::state(movement.state).into(),
        amount: Some(wire::pb_money(Money::from_minor(
            movement.amount_minor,
            currency,
        ))),
        ..Difference::default()
    })
}

/// The progress of an attempt: of several with the same reference, the furthest determines the state.
const fn weight(answer: &Answer) -> u8 {
    match answer {
        Answer::Moved { .. } => 2,
        Answer::Pending { .. } => 1,
        Answer::Refused { .. } | Answer::NotSent | Answer::Absent | Answer::Unknown => 0,
    }
}

/// The state that corresponds to a book entry.
const fn said(answer: &Answer) -> State {
    match answer {
        Answer::Moved { .. } => State::Succeeded,
        Answer::Refused { .. } => State::Declined,
        Answer::Pending { .. } => State::Pending,
        Answer::NotSent | Answer::Absent | Answer::Unknown => State::Unknown,
    }
}
