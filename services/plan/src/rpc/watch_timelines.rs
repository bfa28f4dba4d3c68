//! `PlanService.WatchTimelines`

use std::sync::Arc;

use chassis::{news, resume_position};
use proto::plan::v1 as pb;

use super::get_current_plan::with_terms;
use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{outbox, segments};

/// Changes read at once.
const BATCH: i64 = 100;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchTimelinesRequest,
) -> Result<Streamed<pb::WatchTimelinesResponse>, Error> {
    let position = resume_position(&request.resume_token)?;
    let bookmark = request.allow_bookmark.then(|| pb::WatchTimelinesResponse {
        caught_up: true,
        ..pb::WatchTimelinesResponse::default()
    });
    let reader = ctx.clone();
    let read = move |position| {
        let ctx = reader.clone();
        async move { changes(&ctx, position).await }
    };
    Ok(Box::pin(news(Arc::default(), (position, bookmark), read)))
}

/// The changes after `position`, each with what is in force now.
async fn changes(
    ctx: &Ctx,
    position: i64,
) -> Result<Vec<(i64, pb::WatchTimelinesResponse)>, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let mut changes = Vec::new();
    for (position, root, family) in outbox::list(&mut db, position, BATCH).await? {
        let found = segments::in_force(&mut db, root, &family, now).await?;
        let current = match found.and_then(|(_, segment)| segment) {
            Some(segment) => Some(with_terms(ctx, &mut db, root, (&family, segment)).await?),
            None => None,
        };
        let change = pb::WatchTimelinesResponse {
            account_id: root.to_string(),
            family_code: family,
            segment: current.as_ref().map(convert::segment).transpose()?,
            resume_token: position.to_string(),
            caught_up: false,
        };
        changes.push((position, change));
    }
    Ok(changes)
}
