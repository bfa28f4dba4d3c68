//! Follows the stream of charges, refunds and disputes of `payments`, and posts its events.

use proto::payments::v1 as payments;
use tonic::Status;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::post_event::{self, Note, SOURCE};
use crate::store::watch_positions;

/// Posts every event since the last position; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let (mut from, news) = open(ctx, false).await?;
    chassis::follow(&ctx.stopping, news, async |change| {
        let note = Note::Followed(&from, &change.resume_token);
        let movement = change.movement.as_ref();
        if let Err(error) = post_event::book(ctx, movement, note).await {
            if !chassis::is_permanent(&error) {
                return Err(error);
            }
            post_event::set_aside(ctx, movement, (note, &error)).await?;
        }
        ctx.wake.notify_waiters();
        from = change.resume_token;
        Ok(())
    })
    .await
}

/// Opens the stream after the last position, and returns that position with it.
async fn open(
    ctx: &Ctx,
    allow_bookmark: bool,
) -> Result<(String, tonic::Streaming<payments::WatchMovementsResponse>), Error> {
    let mut db = ctx.db.acquire().await?;
    let resume_token = watch_positions::get(&mut db, SOURCE).await?;
    drop(db);
    let request = payments::WatchMovementsRequest {
        resume_token: resume_token.clone(),
        allow_bookmark,
    };
    let opened = ctx.payments.clone().watch_movements(request).await;
    let news = opened.map_err(chassis::normalised)?.into_inner();
    Ok((resume_token, news))
}

/// Whether an event is not posted yet. A test clock waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let first = open(ctx, true).await?.1.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
