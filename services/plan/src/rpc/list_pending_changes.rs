//! `PlanService.ListPendingChanges`

use chassis::wire;
use proto::plan::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, segments};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListPendingChangesRequest,
) -> Result<pb::ListPendingChangesResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let root = accounts::get(&mut db, account)
        .await?
        .ok_or(Error::AccountNotFound(account))?
        .root;
    let timeline = segments::list(&mut db, root, family).await?;
    let before = [None].into_iter().chain(timeline.iter().map(Some));
    let pending = before
        .zip(&timeline)
        .filter(|(_, segment)| now < segment.start_at)
        .map(|(before, segment)| convert::pending(before, segment));
    Ok(pb::ListPendingChangesResponse {
        pending_changes: pending.collect(),
    })
}
