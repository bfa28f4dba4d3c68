//! `AccountService.GetResource`

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use values::{AccountId, ResourceId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;
use crate::store::accounts::{self, Account};
use crate::store::resources::{self, Resource};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetResourceRequest,
) -> Result<pb::GetResourceResponse, Error> {
    let id: ResourceId = wire::id("resource_id", &request.resource_id)?;
    let (resource, account) = found(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let release_at = accounts::release_at(&mut tx, account.root_id).await?;
    tx.commit().await?;
    Ok(pb::GetResourceResponse {
        resource: Some(convert::resource(&resource, release_at)),
    })
}

/// The resource `id` and its account, if `caller` may do `action` for that account.
pub async fn found(
    ctx: &Ctx,
    caller: &Caller,
    id: ResourceId,
    action: Action,
) -> Result<(Resource, Account), Error> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let resource = resources::get(&mut tx, id.uuid()).await?;
    let of = resource.as_ref().map(|it| (it.account_id, it.root_id));
    let known = permit::knows(&mut tx, caller, of).await?;
    tx.commit().await?;
    let resource = resource.filter(|_| known);
    let resource = resource.ok_or(Error::ResourceNotFound(id))?;
    let account = AccountId::from_uuid(resource.account_id);
    match permit::allowed(ctx, caller, account, action).await {
        Ok(account) => Ok((resource, account)),
        Err(Error::AccountNotFound(_)) => Err(Error::ResourceNotFound(id)),
        Err(error) => Err(error),
    }
}
