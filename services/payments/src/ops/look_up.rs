//! Looking up a movement in its provider's book until the outcome is definite (R2, R6).

use std::time::Instant;

use chrono::TimeDelta;

use super::ask;
use crate::ctx::Ctx;
use crate::domain::movement::{Absent, Answer, AskedFor, Kind, State, absent};
use crate::domain::token::Token;
use crate::error::Error;
use crate::providers::{Sought, Unavailable};
use crate::store::movements::{self, Movement};
use crate::store::{Tenant, methods, webhooks};

/// The outcome of a look-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// The movement had not been sent, so it was sent now.
    Sent,
    /// The book was read, and what it lacks was asked for again and answered.
    Read {
        /// Whether that changed the movement.
        changed: bool,
    },
    /// The book could not be read, or what it lacks was asked for again and nobody answered, or nothing may be sent in
    /// reconcile-only mode: nothing is concluded, and it is looked up again soon.
    Unread,
}

/// Looks up a movement by our reference, or by the provider's id in a `hint`, and stores the answer. A movement that
/// has not been sent is sent, unless a hint suggests that it was. In reconcile-only mode nothing is sent.
pub async fn look_up(ctx: &Ctx, movement: &Movement, hint: &str) -> Result<Looked, Error> {
    let (root, id) = (movement.root_id, movement.movement_id);
    if movement.state == State::Created && hint.is_empty() {
        if chassis::reconciles_only() {
            return Ok(Looked::Unread);
        }
        ask::send(ctx, root, id).await?;
        return Ok(Looked::Sent);
    }
    let provider = ctx.asked(movement)?;
    let mut sought = sought(ctx, movement).await?;
    if sought.provider_id.is_empty() {
        // A hint is not trusted: the reference of what it names is compared with ours (R5).
        hint.clone_into(&mut sought.provider_id);
    }
    let looking = provider.look_up(&sought);
    let looked = tokio::time::timeout(ask::PATIENCE, looking).await;
    let found = looked.unwrap_or(Err(Unavailable));
    let (answer, reached) = match found {
        Ok(Some(answer)) => (answer, true),
        // What was accepted is not lost because a book does not show it, and a hint may be wrong.
        Ok(None) if !matches!(movement.state, State::Sending | State::Unknown) => {
            (Answer::Unknown, true)
        }
        Ok(None) => {
            let asked_for = AskedFor {
                first: TimeDelta::seconds(movement.first_asked_for_seconds),
                last: TimeDelta::seconds(movement.asked_for_seconds),
            };
            match absent(asked_for, provider.window()) {
                Some(Absent::AskAgain) if chassis::reconciles_only() => {
                    note(ctx, &movement.provider_code, true).await?;
                    return Ok(Looked::Unread);
                }
                Some(Absent::AskAgain) => ask::again(ctx, movement).await?,
                Some(Absent::NotSent) => (Answer::Absent, true),
                None => (Answer::Unknown, true),
            }
        }
        Err(Unavailable) => (Answer::Unknown, false),
    };
    // Once, of all that was asked: a provider whose book can be read may still take no orders.
    note(ctx, &movement.provider_code, reached).await?;
    let changed = ask::keep(ctx, root, id, (answer, None)).await?;
    Ok(if reached {
        Looked::Read { changed }
    } else {
        Looked::Unread
    })
}

/// Notes whether a provider could be reached. Where it can again, all that nobody knows of is looked up at once, and
/// what its webhooks hint at (P6).
async fn note(ctx: &Ctx, provider: &str, reached: bool) -> Result<(), Error> {
    let recovered = ctx.breaker(provider, |it| {
        if reached {
            return it.reached();
        }
        it.missed(Instant::now());
        false
    });
    if recovered != Some(true) {
        return Ok(());
    }
    tracing::info!(provider, "a provider is reachable again");
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    movements::look_up_all(&mut tx, provider).await?;
    webhooks::process_all(&mut tx, provider).await?;
    tx.commit().await?;
    ctx.wake.notify_waiters();
    Ok(())
}

/// The keys by which a provider looks up a movement.
pub async fn sought(ctx: &Ctx, movement: &Movement) -> Result<Sought, Error> {
    let root = movement.root_id;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let (charge_id, token) = if movement.kind == Kind::Refund {
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
        kind: movement.kind,
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
