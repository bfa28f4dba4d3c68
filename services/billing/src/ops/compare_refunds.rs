//! Compares the refunds that billing requested with those that `payments` has. After a database restore, either side
//! may have lost rows.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use proto::payments::v1 as payments;
use proto::payments::v1::MovementState;
use tonic::Code;
use uuid::Uuid;
use values::{AccountId, RefundId};

use super::collect::parsed;
use crate::ctx::Ctx;
use crate::domain::refund::State;
use crate::error::Error;
use crate::store::refunds::{self, Refund};

/// The most differences reported.
const MOST: usize = 100;
/// Refunds read at once.
const BATCH: i64 = 500;

/// Differences between the refunds here and those of `payments` created in a time range, one line each, at most 100.
pub async fn differences(
    ctx: &Ctx,
    root: Option<Uuid>,
    between: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut page_token = String::new();
    loop {
        let (told, next) = ctx.refunds(root, between, page_token).await?;
        compare(ctx, &told, (&mut seen, &mut found)).await?;
        if next.is_empty() || MOST <= found.len() {
            break;
        }
        page_token = next;
    }
    let mut after = None;
    while found.len() < MOST {
        let mut db = ctx.db.acquire().await?;
        let page = refunds::submitted_between(&mut db, between, (root, after), BATCH).await?;
        drop(db);
        let Some(last) = page.last() else {
            break;
        };
        after = Some((last.created_at, last.refund_id));
        for refund in &page {
            found.extend(missing(ctx, refund, &seen).await?);
        }
    }
    found.truncate(MOST);
    Ok(found)
}

/// Compares a page of refunds of `payments` with ours.
async fn compare(
    ctx: &Ctx,
    told: &[payments::Refund],
    (seen, found): (&mut HashSet<Uuid>, &mut Vec<String>),
) -> Result<(), Error> {
    let mut ours = Vec::new();
    for said in told {
        let id: RefundId = parsed(&said.refund_id)?;
        seen.insert(id.uuid());
        // The key of a refund is the id that we gave it; any other is not ours.
        ours.push(Uuid::try_parse(&said.refund_key).unwrap_or_default());
    }
    let mut db = ctx.db.acquire().await?;
    let known = refunds::get_all(&mut db, &ours).await?;
    drop(db);
    let known: HashMap<Uuid, Refund> = known.into_iter().map(|it| (it.refund_id, it)).collect();
    for (said, id) in told.iter().zip(&ours) {
        found.extend(difference(said, known.get(id)));
    }
    Ok(())
}

/// The difference between a refund of `payments` and ours; `None` if they agree.
fn difference(said: &payments::Refund, known: Option<&Refund>) -> Option<String> {
    let id = &said.refund_id;
    let state = said.state();
    let Some(known) = known else {
        return Some(format!(
            "refund {id} of {}: {}, but nobody here requested it",
            said.account_id,
            state.as_str_name()
        ));
    };
    let came_back = said.overturn_time.is_some();
    let agrees = if known.attempt_number == said.attempt_number {
        match state {
            MovementState::Succeeded => known.state == State::Succeeded && !came_back,
            // A refusal begins the next attempt.
            MovementState::Declined | MovementState::FailedNotSent => known.state == State::Undone,
            MovementState::Unspecified
            | MovementState::Created
            | MovementState::Sending
            | MovementState::Pending
            | MovementState::Unknown
            | MovementState::Parked => !known.state.is_decided(),
        }
    } else {
        // Only an attempt that paid nothing, or whose money came back, is followed by another.
        said.attempt_number < known.attempt_number
            && match state {
                MovementState::Declined | MovementState::FailedNotSent => true,
                MovementState::Succeeded => came_back,
                MovementState::Unspecified
                | MovementState::Created
                | MovementState::Sending
                | MovementState::Pending
                | MovementState::Unknown
                | MovementState::Parked => false,
            }
    };
    (!agrees).then(|| {
        format!(
            "refund {id} of {}: {} at attempt {}{}, but here it is {} at attempt {}",
            said.account_id,
            state.as_str_name(),
            said.attempt_number,
            if came_back { ", came back" } else { "" },
            known.state.as_str(),
            known.attempt_number
        )
    })
}

/// The difference if a refund of ours is neither among those `seen` nor known to `payments` by its id.
async fn missing(
    ctx: &Ctx,
    refund: &Refund,
    seen: &HashSet<Uuid>,
) -> Result<Option<String>, Error> {
    let Some(id) = refund.payments_refund_id.filter(|id| !seen.contains(id)) else {
        return Ok(None);
    };
    let (root, id) = (
        AccountId::from_uuid(refund.root_id),
        RefundId::from_uuid(id),
    );
    match ctx.refund(root, id).await {
        // The refund was created outside the compared time range.
        Ok(said) => Ok(difference(&said, Some(refund))),
        Err(status) if status.code() == Code::NotFound => Ok(Some(format!(
            "refund {id} of {root}: {} here, but payments has no such refund",
            refund.state.as_str()
        ))),
        Err(status) => Err(status.into()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn known(state: State, attempt_number: i32) -> Refund {
        Refund {
            root_id: Uuid::from_u128(1),
            refund_id: Uuid::from_u128(2),
            intent_id: Uuid::from_u128(3),
            lot_id: None,
            charge_id: None,
            currency: "INR".to_owned(),
            amount_minor: 1,
            tax_minor: 0,
            fee_minor: 0,
            state,
            attempt_number,
            refusals: 0,
            manual: false,
            payments_refund_id: None,
            due_on: NaiveDate::MIN,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_refund_that_was_paid_or_came_back_and_is_not_booked_is_a_difference() {
        use MovementState as Moved;
        for (state, attempt, came_back, ours, agrees) in [
            (Moved::Succeeded, 1, false, known(State::Succeeded, 1), true),
            (
                Moved::Succeeded,
                1,
                false,
                known(State::Processing, 1),
                false,
            ),
            (Moved::Succeeded, 1, false, known(State::Undone, 1), false),
            (Moved::Succeeded, 1, true, known(State::Succeeded, 1), false),
            (Moved::Succeeded, 1, true, known(State::Retrying, 2), true),
            (Moved::Succeeded, 1, false, known(State::Retrying, 2), false),
            (
                Moved::Declined,
                1,
                false,
                known(State::Processing, 1),
                false,
            ),
            (Moved::Declined, 1, false, known(State::Retrying, 2), true),
            (Moved::Unknown, 1, false, known(State::Processing, 1), true),
            (Moved::Parked, 1, false, known(State::NeedsManual, 1), true),
            (Moved::Pending, 1, false, known(State::Succeeded, 1), false),
            (Moved::Pending, 2, false, known(State::Retrying, 1), false),
        ] {
            let said = payments::Refund {
                state: state.into(),
                attempt_number: attempt,
                overturn_time: came_back.then(|| chassis::wire::timestamp(DateTime::UNIX_EPOCH)),
                ..payments::Refund::default()
            };
            let found = difference(&said, Some(&ours));
            assert_eq!(found.is_none(), agrees, "{found:?} {state:?} {ours:?}");
        }
        assert!(difference(&payments::Refund::default(), None).is_some());
    }
}
