//! `PaymentsService.Reconcile`

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
use crate::domain::movement::{Answer, State};
use crate::error::Error;
use crate::ops::{ask, look_up, payer};
use crate::providers::BookEntry;
use crate::store::movements::{self, Movement};
use crate::store::{Tenant, enter};

/// The longest stretch that is compared at once.
const DAYS_MAX: TimeDelta = TimeDelta::days(31);
/// Differences told at most.
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
    // Of one account the book does not tell whose the others are.
    if account.is_none() {
        differences.extend(missing_here(&ctx, code, &book).await?);
    }
    if request.apply {
        let by_id: HashMap<String, &Movement> = ours
            .iter()
            .map(|it| (it.movement_id.simple().to_string(), it))
            .collect();
        for (difference, answer) in &mut differences {
            let movement = difference.movement_id.get(2..).and_then(|id| by_id.get(id));
            if let (Some(answer), Some(movement)) = (answer.take(), movement) {
                let (root, id) = (movement.root_id, movement.movement_id);
                difference.mended = ask::keep(&ctx, root, id, (answer, None)).await?;
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

/// Where we and the book differ on a movement that both have, oldest first, each with what the book
/// says.
fn compared(
    provider: &str,
    ours: &[Movement],
    book: &[BookEntry],
) -> Result<Vec<(Difference, Option<Answer>)>, Error> {
    let there: HashMap<Uuid, &BookEntry> = book.iter().map(|it| (it.reference, it)).collect();
    let mut differences = Vec::new();
    for movement in ours {
        let asked = movement.asked().ok_or(Error::Stored("currency"))?;
        let Some(entry) = there.get(&movement.provider_key) else {
            continue;
        };
        let said = said(&entry.answer);
        let differs = if entry.money != asked.money && said != State::Declined {
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
        differences.push((difference, Some(entry.answer.clone())));
    }
    Ok(differences)
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

/// What the book has and we do not, whenever it was made here.
async fn missing_here(
    ctx: &Ctx,
    provider: &str,
    book: &[BookEntry],
) -> Result<Vec<(Difference, Option<Answer>)>, Error> {
    let keys: Vec<Uuid> = book.iter().map(|it| it.reference).collect();
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
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
        movement_id: if movement.kind == "REFUND" {
            RefundId::from_uuid(id).to_string()
        } else {
            ChargeId::from_uuid(id).to_string()
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

/// The book's state in our words.
const fn said(answer: &Answer) -> State {
    match answer {
        Answer::Moved { .. } => State::Succeeded,
        Answer::Refused { .. } => State::Declined,
        Answer::Pending { .. } => State::Pending,
        Answer::NotSent | Answer::Absent | Answer::Unknown => State::Unknown,
    }
}
