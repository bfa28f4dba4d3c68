//! `PaymentsService.WatchMovements`
//!
//! Streams changed charges, refunds and disputes after a resume token, from the outbox.

use chassis::{Place, news};
use proto::payments::v1 as pb;
use proto::payments::v1::watch_movements_response::Movement;

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::domain::movement::Kind;
use crate::error::Error;
use crate::store::{Tenant, disputes, movements, outbox};

/// Changes read per query.
const BATCH: i64 = 100;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchMovementsRequest,
) -> Result<Streamed<pb::WatchMovementsResponse>, Error> {
    let place = Place::read(&request.resume_token)?;
    let bookmark = request.allow_bookmark.then(|| pb::WatchMovementsResponse {
        caught_up: true,
        ..pb::WatchMovementsResponse::default()
    });
    let reader = ctx.clone();
    let read = move |place| {
        let ctx = reader.clone();
        async move { changes(&ctx, &place).await }
    };
    Ok(Box::pin(news(
        (ctx.clone(), ctx.wake.clone()),
        (place, bookmark),
        read,
    )))
}

/// The changes after a position, each with the present state of its movement.
async fn changes(
    ctx: &Ctx,
    place: &Place,
) -> Result<Vec<(i64, pb::WatchMovementsResponse)>, Error> {
    let today = ctx.clock.now().await?.date_naive();
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let mut changes = Vec::new();
    for (position, root, id) in outbox::list(&mut tx, place, BATCH).await? {
        let shown = if let Some(it) = movements::get(&mut tx, root, id).await? {
            match it.kind {
                Kind::Charge => Movement::Charge(convert::charge(&it)?),
                Kind::Refund => Movement::Refund(convert::refund(&it, today)?),
            }
        } else {
            let dispute = disputes::get(&mut tx, id).await?;
            let dispute = dispute.ok_or(Error::Stored("movement"))?;
            Movement::Dispute(convert::dispute(&dispute)?)
        };
        let change = pb::WatchMovementsResponse {
            movement: Some(shown),
            resume_token: place.token(position),
            caught_up: false,
        };
        changes.push((position, change));
    }
    tx.commit().await?;
    Ok(changes)
}
