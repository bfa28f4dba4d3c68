//! `AccountService.DeleteResource`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::AccountId;

use super::create_resource::action;
use super::get_resource::found;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::resources;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::DeleteResourceRequest>,
) -> Result<pb::DeleteResourceResponse, Error> {
    let id = wire::id("resource_id", &call.message.resource_id)?;
    let (resource, _) = found(&ctx, &call.caller, id, Action::Use).await?;
    let of = AccountId::from_uuid(resource.account_id);
    let account = permit::allowed(&ctx, &call.caller, of, action(&resource.kind_code)).await?;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    resources::release(&mut unit.tx, resource.resource_id, call.now).await?;
    Ok(unit.commit(pb::DeleteResourceResponse {}).await?)
}
