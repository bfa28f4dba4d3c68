//! `PlanService.ListSegments`

use chassis::wire;
use proto::plan::v1 as pb;

use super::convert;
use super::get_current_plan::with_terms;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, segments};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListSegmentsRequest,
) -> Result<pb::ListSegmentsResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let mut db = ctx.db.acquire().await?;
    let root = accounts::get(&mut db, account)
        .await?
        .ok_or(Error::AccountNotFound(account))?
        .root;
    let mut segments = Vec::new();
    for segment in segments::list(&mut db, root, family).await? {
        let it = with_terms(ctx, &mut db, root, (family, segment)).await?;
        segments.push(convert::segment(&it)?);
    }
    Ok(pb::ListSegmentsResponse { segments })
}
