//! `AccountService.ListPendingChanges`

use chassis::{Caller, wire};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListPendingChangesRequest,
) -> Result<pb::ListPendingChangesResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    permit::allowed(ctx, caller, id, Action::See).await?;
    let found = ctx.pending_changes(id, family).await?;
    Ok(pb::ListPendingChangesResponse {
        pending_changes: found.into_iter().map(convert::pending_change).collect(),
    })
}
