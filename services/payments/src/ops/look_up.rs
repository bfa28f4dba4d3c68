//! Looking a movement up in its provider's book, until the book is definite (R2, R6).

use chrono::TimeDelta;

use super::ask;
use crate::ctx::Ctx;
use crate::domain::movement::{Absent, Answer, State, absent};
use crate::error::Error;
use crate::providers::{Kind, Unavailable};
use crate::store::movements::Movement;

/// Looks a movement up and keeps what the book says; one that was never sent is sent.
pub async fn look_up(ctx: &Ctx, movement: &Movement) -> Result<(), Error> {
    let (root, id) = (movement.root_id, movement.movement_id);
    if movement.state == State::Created {
        return ask::send(ctx, root, id).await;
    }
    let provider = ctx.provider(&movement.provider_code)?;
    let kind = kind(movement);
    let looking = provider.look_up(kind, movement.provider_key);
    let looked = tokio::time::timeout(ask::PATIENCE, looking).await;
    let answer = match looked.unwrap_or(Err(Unavailable)) {
        Ok(Some(answer)) => answer,
        // What was accepted is not lost because a book does not show it.
        Ok(None) if movement.state == State::Pending => Answer::Unknown,
        Ok(None) => {
            let since = TimeDelta::seconds(movement.asked_for_seconds);
            match absent(since, provider.window()) {
                Absent::AskAgain => ask::again(ctx, movement).await?,
                Absent::NotSent => Answer::Absent,
            }
        }
        // Nothing is concluded from a book that can't be read.
        Err(_) => Answer::Unknown,
    };
    ask::keep(ctx, root, id, (answer, None)).await?;
    Ok(())
}

/// Whether its money comes or goes.
pub fn kind(movement: &Movement) -> Kind {
    if movement.kind == "REFUND" {
        Kind::Refund
    } else {
        Kind::Charge
    }
}
