//! Looks up movements whose outcome nobody knows, and sends those that a crash left unsent.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::domain::movement::look_up_pause;
use crate::error::Error;
use crate::ops::look_up::look_up;
use crate::store::{Tenant, enter, movements};

/// Takes the movement that has waited longest and looks it up; gives how many it found.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let lease = Uuid::new_v4();
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let Some((root, id, look_at)) =
        movements::lease_due(&mut tx, (lease, ctx.lease_seconds)).await?
    else {
        return Ok(0);
    };
    let movement = movements::get(&mut tx, root, id)
        .await?
        .ok_or(Error::Stored("movement"))?;
    tx.commit().await?;

    let looked_up = look_up(ctx, &movement, "").await;
    // Whatever came of it: decided, it is not looked up again; else later, and ever more rarely.
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::Root(root)).await?;
    let pause = look_up_pause(movement.look_ups, ctx.look_up_seconds);
    movements::look_up_later(&mut tx, (root, id), (lease, &look_at), pause).await?;
    tx.commit().await?;
    looked_up.map(|_| 1)
}
