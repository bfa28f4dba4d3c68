//! Looks up movements with an unknown outcome and sends those that a crash left unsent, concurrently and separately for
//! each provider.
//!
//! A look-up without an answer says nothing about its movement and is repeated soon. While a provider is unreachable,
//! one look-up at a time serves as the probe; once it answers, all movements with an unknown outcome are looked up at
//! once (P6).

use std::time::Instant;

use futures::future::join_all;
use uuid::Uuid;

use crate::ctx::Ctx;
use crate::domain::movement::{look_up_pause, unreached_pause};
use crate::error::Error;
use crate::ops::look_up::{Looked, look_up};
use crate::store::Tenant;
use crate::store::movements::{self, Movement};

/// Movements looked up concurrently.
const SIDE_BY_SIDE: i64 = 32;

/// A leased movement, and the time at which it was due.
struct Leased {
    movement: Movement,
    look_at: String,
    lease: Uuid,
}

/// Looks up the movements of a provider that are due, longest waiting first; returns how many.
pub async fn step(ctx: &Ctx, provider: &str) -> Result<usize, Error> {
    let room = ctx.breaker(provider, |it| it.room(Instant::now(), SIDE_BY_SIDE));
    let Some(room) = room.filter(|room| 0 < *room) else {
        return Ok(0);
    };
    let lease = Uuid::new_v4();
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let due = movements::lease_due(&mut tx, (lease, ctx.lease_seconds), (provider, room)).await?;
    let mut leased = Vec::new();
    for (root, id, look_at) in due {
        let movement = movements::get(&mut tx, root, id)
            .await?
            .ok_or(Error::Stored("movement"))?;
        leased.push(Leased {
            movement,
            look_at,
            lease,
        });
    }
    tx.commit().await?;
    let looked_up = join_all(
        leased
            .iter()
            .map(|it| chassis::traced("look_up_movements", one(ctx, it))),
    )
    .await;
    for (done, it) in looked_up.into_iter().zip(&leased) {
        if let Err(error) = done {
            // One failure must not stop the others.
            tracing::warn!(movement.id = %it.movement.movement_id, error = %chassis::Chain(&error), "a movement could not be looked up; it will be retried");
        }
    }
    Ok(leased.len())
}

/// Looks up one movement and schedules the next look-up.
async fn one(ctx: &Ctx, leased: &Leased) -> Result<(), Error> {
    let movement = &leased.movement;
    let (root, id) = (movement.root_id, movement.movement_id);
    let looked_up = look_up(ctx, movement, "").await;
    // A decided movement is not looked up again. Otherwise the pause grows, but only if the book was read.
    let reached = !matches!(looked_up, Ok(Looked::Unread));
    let pause = if reached {
        look_up_pause(movement.look_ups, ctx.look_up_seconds)
    } else {
        unreached_pause(ctx.look_up_seconds)
    };
    let lease = (leased.lease, leased.look_at.as_str());
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    movements::look_up_later(&mut tx, (root, id), lease, (pause, reached)).await?;
    tx.commit().await?;
    looked_up.map(|_| ())
}
