//! Looking a movement up in its provider's book, until the book is definite (R2, R6).

use chrono::TimeDelta;

use super::ask;
use crate::ctx::Ctx;
use crate::domain::movement::{Absent, Answer, State, absent};
use crate::error::Error;
use crate::providers::Kind;
use crate::store::movements::Movement;

/// Looks a movement up and keeps what the book says; one that was never sent is sent.
pub async fn look_up(ctx: &Ctx, movement: &Movement) -> Result<(), Error> {
    let (root, id) = (movement.root_id, movement.movement_id);
    if movement.state == State::Created {
        return ask::send(ctx, root, id).await;
    }
    let provider = ctx.provider(&movement.provider_code)?;
    let kind = if movement.kind == "REFUND" {
        Kind::Refund
    } else {
        Kind::Charge
    };
    let answer = match provider.look_up(kind, movement.provider_key).await {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            let since = TimeDelta::seconds(movement.asked_for_seconds);
            match absent(since, provider.window()) {
                Absent::AskAgain => ask::again(ctx, movement).await?,
                Absent::NotSent => Answer::Refused {
                    reason: "NOT_SENT".to_owned(),
                    retryable: true,
                },
            }
        }
        // Nothing is concluded from a book that can't be read.
        Err(_) => Answer::Unknown,
    };
    ask::keep(ctx, root, id, answer).await
}
