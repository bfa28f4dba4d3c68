//! Looking a movement up in its provider's book, until the book is definite (R2, R6).

use chrono::TimeDelta;

use super::ask;
use crate::ctx::Ctx;
use crate::domain::movement::{Absent, Answer, AskedFor, State, absent};
use crate::domain::token::Token;
use crate::error::Error;
use crate::providers::{Kind, Sought, Unavailable};
use crate::store::movements::{self, Movement};
use crate::store::{Tenant, enter, methods};

/// Looks a movement up, by our reference or by the provider's id in a `hint`, and keeps what the book says;
/// one that was never sent, and of which there is no hint that it was, is sent. Tells whether the book could
/// be read: nothing is concluded from one that can't.
pub async fn look_up(ctx: &Ctx, movement: &Movement, hint: &str) -> Result<bool, Error> {
    let (root, id) = (movement.root_id, movement.movement_id);
    if movement.state == State::Created && hint.is_empty() {
        ask::send(ctx, root, id).await?;
        return Ok(true);
    }
    let provider = ctx.asked(movement)?;
    let mut sought = sought(ctx, movement).await?;
    if sought.provider_id.is_empty() {
        // Whatever it names, its reference is compared with ours before it is believed (R5).
        hint.clone_into(&mut sought.provider_id);
    }
    let looking = provider.look_up(&sought);
    let looked = tokio::time::timeout(ask::PATIENCE, looking).await;
    let found = looked.unwrap_or(Err(Unavailable));
    let read = found.is_ok();
    let answer = match found {
        Ok(Some(answer)) => answer,
        // What was accepted is not lost because a book does not show it, and a hint may be wrong.
        Ok(None) if !matches!(movement.state, State::Sending | State::Unknown) => Answer::Unknown,
        Ok(None) => {
            let asked_for = AskedFor {
                first: TimeDelta::seconds(movement.first_asked_for_seconds),
                last: TimeDelta::seconds(movement.asked_for_seconds),
            };
            match absent(asked_for, provider.window()) {
                Some(Absent::AskAgain) => ask::again(ctx, movement).await?,
                Some(Absent::NotSent) => Answer::Absent,
                None => Answer::Unknown,
            }
        }
        Err(Unavailable) => Answer::Unknown,
    };
    ask::keep(ctx, root, id, (answer, None)).await?;
    Ok(read)
}

/// What a provider looks a movement up by.
pub async fn sought(ctx: &Ctx, movement: &Movement) -> Result<Sought, Error> {
    let root = movement.root_id;
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::Root(root)).await?;
    let (charge_id, token) = if movement.kind == "REFUND" {
        let charge = movements::get(&mut tx, root, movement.subject_id).await?;
        let charge = charge.ok_or(Error::Stored("charge of a refund"))?;
        (charge.provider_id, None)
    } else {
        let method = methods::get(&mut tx, root, movement.method_id).await?;
        let token = method.and_then(|it| Token::parse(&it.provider_token).ok());
        (String::new(), token)
    };
    tx.commit().await?;
    Ok(Sought {
        kind: kind(movement),
        reference: movement.provider_key,
        provider_id: movement.provider_id.clone(),
        charge_id,
        token,
        asked_for: AskedFor {
            first: TimeDelta::seconds(movement.first_asked_for_seconds),
            last: TimeDelta::seconds(movement.asked_for_seconds),
        },
    })
}

/// Whether its money comes or goes.
pub fn kind(movement: &Movement) -> Kind {
    if movement.kind == "REFUND" {
        Kind::Refund
    } else {
        Kind::Charge
    }
}
