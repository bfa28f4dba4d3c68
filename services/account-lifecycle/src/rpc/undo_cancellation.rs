//! `AccountService.UndoCancellation`

use chassis::{Call, wire};
use proto::account::v1 as pb;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{limit, permit};
use values::AccountId;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::UndoCancellationRequest>,
) -> Result<pb::UndoCancellationResponse, Error> {
    let id = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let account = permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    ctx.undo_cancellation(id, family, call.derived_id("undo"))
        .await?;
    // The present timeline is read, since a replayed response may be outdated.
    let segments = ctx
        .segments(AccountId::from_uuid(account.root_id), family)
        .await?;
    let mut unit = permit::step(&ctx, &call, &account).await?;
    limit::follow(&mut unit.tx, account.root_id, &segments, call.now).await?;
    Ok(unit.commit(pb::UndoCancellationResponse {}).await?)
}
