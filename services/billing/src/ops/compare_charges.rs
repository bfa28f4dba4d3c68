//! Compares the charges that billing requested with those that `payments` has. After a database restore, either side
//! may have lost rows.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use proto::payments::v1 as payments;
use proto::payments::v1::MovementState;
use tonic::Code;
use uuid::Uuid;
use values::{AccountId, ChargeId, CollectionId, InvoiceId};

use super::collect::{SETTLED_AMOUNT_DIFFERS, parsed};
use crate::ctx::Ctx;
use crate::domain::collection::State;
use crate::error::Error;
use crate::store::collections::{self, Compared};

/// The most differences reported.
const MOST: usize = 100;
/// Collections read at once.
const BATCH: i64 = 500;

/// Differences between the collections and the charges created in a time range, one line each, at most 100.
pub async fn differences(
    ctx: &Ctx,
    root: Option<Uuid>,
    between: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut page_token = String::new();
    loop {
        let (charges, next) = ctx.charges(root, between, page_token).await?;
        compare(ctx, &charges, (&mut seen, &mut found)).await?;
        if next.is_empty() || MOST <= found.len() {
            break;
        }
        page_token = next;
    }
    let mut after = None;
    while found.len() < MOST {
        let mut db = ctx.db.acquire().await?;
        let page = collections::charged_between(&mut db, between, (root, after), BATCH).await?;
        drop(db);
        let Some(last) = page.last() else {
            break;
        };
        after = Some((last.created_at, last.collection_id));
        for collection in &page {
            found.extend(missing(ctx, collection, &seen).await?);
        }
    }
    found.truncate(MOST);
    Ok(found)
}

/// Compares a page of charges with their collections.
async fn compare(
    ctx: &Ctx,
    charges: &[payments::Charge],
    (seen, found): (&mut HashSet<Uuid>, &mut Vec<String>),
) -> Result<(), Error> {
    let mut of = Vec::new();
    for charge in charges {
        let (id, invoice): (ChargeId, InvoiceId) =
            (parsed(&charge.charge_id)?, parsed(&charge.invoice_id)?);
        seen.insert(id.uuid());
        of.push(invoice.uuid());
    }
    let mut db = ctx.db.acquire().await?;
    let known = collections::compared(&mut db, &of).await?;
    drop(db);
    let known: HashMap<Uuid, Compared> =
        known.into_iter().map(|it| (it.collection_id, it)).collect();
    for (charge, id) in charges.iter().zip(&of) {
        found.extend(difference(charge, known.get(id)));
    }
    Ok(())
}

/// The difference between a charge and its collection; `None` if they agree.
fn difference(charge: &payments::Charge, known: Option<&Compared>) -> Option<String> {
    let id = &charge.charge_id;
    let state = charge.state();
    let Some(known) = known else {
        return Some(format!(
            "charge {id} of {}: {}, but no collection requested it",
            charge.account_id,
            state.as_str_name()
        ));
    };
    let agrees = if known.attempt_number == charge.attempt_number {
        match state {
            MovementState::Succeeded => {
                known.state == State::Succeeded || known.failure_reason == SETTLED_AMOUNT_DIFFERS
            }
            MovementState::Declined | MovementState::FailedNotSent => {
                known.state == State::Declined
            }
            MovementState::Unspecified
            | MovementState::Created
            | MovementState::Sending
            | MovementState::Pending
            | MovementState::Unknown
            | MovementState::Parked => !matches!(known.state, State::Succeeded | State::Declined),
        }
    } else {
        // Only an attempt that moved no money is followed by another.
        charge.attempt_number < known.attempt_number
            && matches!(
                state,
                MovementState::Declined | MovementState::FailedNotSent
            )
    };
    (!agrees).then(|| {
        format!(
            "charge {id} of {}: {} at attempt {}, but collection {} is {} at attempt {}",
            charge.account_id,
            state.as_str_name(),
            charge.attempt_number,
            CollectionId::from_uuid(known.collection_id),
            known.state.as_str(),
            known.attempt_number
        )
    })
}

/// The difference if the charge of a collection is neither among those `seen` nor known to `payments` by its id.
async fn missing(
    ctx: &Ctx,
    collection: &Compared,
    seen: &HashSet<Uuid>,
) -> Result<Option<String>, Error> {
    let Some(charge) = collection.charge_id.filter(|id| !seen.contains(id)) else {
        return Ok(None);
    };
    let (root, charge) = (
        AccountId::from_uuid(collection.root_id),
        ChargeId::from_uuid(charge),
    );
    match ctx.charge(root, charge).await {
        // The charge was created outside the compared time range.
        Ok(charge) => Ok(difference(&charge, Some(collection))),
        Err(status) if status.code() == Code::NotFound => Ok(Some(format!(
            "collection {} of {root}: {}, but payments has no charge {charge}",
            CollectionId::from_uuid(collection.collection_id),
            collection.state.as_str()
        ))),
        Err(status) => Err(status.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(state: State, attempt_number: i32) -> Compared {
        Compared {
            collection_id: Uuid::from_u128(1),
            root_id: Uuid::from_u128(2),
            state,
            failure_reason: String::new(),
            attempt_number,
            charge_id: Some(Uuid::from_u128(3)),
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_charge_that_has_moved_and_is_not_booked_is_a_difference() {
        use MovementState as Moved;
        for (state, attempt, theirs, agrees) in [
            (Moved::Succeeded, 1, known(State::Succeeded, 1), true),
            (Moved::Succeeded, 1, known(State::Pending, 1), false),
            (Moved::Succeeded, 1, known(State::Declined, 1), false),
            (Moved::Succeeded, 1, known(State::Succeeded, 2), false),
            (Moved::Declined, 1, known(State::Declined, 1), true),
            (Moved::Declined, 1, known(State::Succeeded, 2), true),
            (Moved::Declined, 1, known(State::Succeeded, 1), false),
            (Moved::Pending, 1, known(State::AwaitingSettlement, 1), true),
            (Moved::Pending, 1, known(State::Succeeded, 1), false),
            (Moved::Pending, 2, known(State::Declined, 1), false),
        ] {
            let charge = payments::Charge {
                state: state.into(),
                attempt_number: attempt,
                ..payments::Charge::default()
            };
            let found = difference(&charge, Some(&theirs));
            assert_eq!(found.is_none(), agrees, "{found:?}");
        }
        assert!(difference(&payments::Charge::default(), None).is_some());
    }
}
