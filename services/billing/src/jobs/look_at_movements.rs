//! Polls `payments` for charges and refunds without a recent event and posts their state like an event. Events can be
//! missing after a database restore.

use futures::future::{join, join_all};
use proto::payments::v1::watch_movements_response::Movement;
use uuid::Uuid;
use values::{AccountId, ChargeId, RefundId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::post_event::{self, Note};
use crate::store::{collections, refunds};

/// The most charges, and the most refunds, polled concurrently in one step.
const BATCH: i64 = 20;

/// Polls the charges and refunds that are due; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut db = ctx.db.acquire().await?;
    let charges = collections::take_to_look_at(&mut db, BATCH).await?;
    let back = refunds::take_to_look_at(&mut db, BATCH).await?;
    drop(db);
    let charges_looked_at = charges.iter().map(|(root, id)| async move {
        let polled = chassis::traced("look_at_movements", charge(ctx, *root, *id)).await;
        tell(polled, (*root, *id));
    });
    let back_looked_at = back.iter().map(|(root, id)| async move {
        let polled = chassis::traced("look_at_movements", refund(ctx, *root, *id)).await;
        tell(polled, (*root, *id));
    });
    join(join_all(charges_looked_at), join_all(back_looked_at)).await;
    Ok(charges.len() + back.len())
}

/// Logs a failure, which must not stop the others.
fn tell(polled: Result<(), Error>, (root, movement): (Uuid, Uuid)) {
    if let Err(error) = polled {
        tracing::error!(
            account.id = %AccountId::from_uuid(root),
            movement.id = %movement,
            error = %chassis::Chain(&error),
            "polling a charge or refund failed; it is polled again later"
        );
    }
}

async fn charge(ctx: &Ctx, root: Uuid, id: Uuid) -> Result<(), Error> {
    let found = ctx.charge(AccountId::from_uuid(root), ChargeId::from_uuid(id));
    post(ctx, &Movement::Charge(found.await?)).await
}

async fn refund(ctx: &Ctx, root: Uuid, id: Uuid) -> Result<(), Error> {
    let found = ctx.refund(AccountId::from_uuid(root), RefundId::from_uuid(id));
    post(ctx, &Movement::Refund(found.await?)).await
}

async fn post(ctx: &Ctx, movement: &Movement) -> Result<(), Error> {
    if let Err(error) = post_event::book(ctx, Some(movement), Note::Asked).await {
        if !chassis::is_permanent(&error) {
            return Err(error);
        }
        post_event::set_aside(ctx, Some(movement), (Note::Asked, &error)).await?;
    }
    ctx.wake.notify_waiters();
    Ok(())
}
