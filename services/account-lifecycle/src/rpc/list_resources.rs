//! `AccountService.ListResources`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::resources::{self, Resource};
use crate::store::{Tenant, accounts};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListResourcesRequest,
) -> Result<pb::ListResourcesResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let kind = wire::optional_code("kind_code", &request.kind_code)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let of = (account.account_id, kind);
    let found = resources::list(&mut tx, of, before, page.size + 1).await?;
    let release_at = accounts::release_at(&mut tx, account.root_id).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: Resource| token(it.created_at, it.resource_id);
    Ok(pb::ListResourcesResponse {
        resources: found
            .iter()
            .map(|it| convert::resource(it, release_at))
            .collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}
