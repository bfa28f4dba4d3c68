//! `PlanService.WatchTimelines`
//!
//! Streams changed timelines after a resume token, from the outbox.

use std::sync::Arc;

use chassis::{Place, news};
use proto::plan::v1 as pb;

use super::get_current_plan::with_terms;
use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{outbox, segments};

/// Changes read per query.
const BATCH: i64 = 100;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchTimelinesRequest,
) -> Result<Streamed<pb::WatchTimelinesResponse>, Error> {
    let place = Place::read(&request.resume_token)?;
    let bookmark = request.allow_bookmark.then(|| pb::WatchTimelinesResponse {
        caught_up: true,
        ..pb::WatchTimelinesResponse::default()
    });
    let reader = ctx.clone();
    let read = move |place| {
        let ctx = reader.clone();
        async move { changes(&ctx, &place).await }
    };
    Ok(Box::pin(news(
        (ctx.clone(), Arc::default()),
        (place, bookmark),
        read,
    )))
}

/// The changes after a position, each with the plan in force now.
async fn changes(
    ctx: &Ctx,
    place: &Place,
) -> Result<Vec<(i64, pb::WatchTimelinesResponse)>, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let mut changes = Vec::new();
    for (position, root, family) in outbox::list(&mut db, place, BATCH).await? {
        let found = segments::in_force(&mut db, root, &family, now).await?;
        let current = match found.and_then(|(_, segment)| segment) {
            Some(segment) => Some(with_terms(ctx, &mut db, root, (&family, segment)).await?),
            None => None,
        };
        let change = pb::WatchTimelinesResponse {
            account_id: root.to_string(),
            family_code: family,
            segment: current.as_ref().map(convert::segment).transpose()?,
            resume_token: place.token(position),
            caught_up: false,
        };
        changes.push((position, change));
    }
    Ok(changes)
}
