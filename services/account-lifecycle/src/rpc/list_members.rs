//! `AccountService.ListMembers`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;
use uuid::Uuid;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, members};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListMembersRequest,
) -> Result<pb::ListMembersResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let after = page.after(|text| {
        let (user, role) = text.split_once('.')?;
        Some((Uuid::try_parse(user).ok()?, role.to_owned()))
    })?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let found = members::list(&mut tx, account.account_id, after, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListMembersResponse {
        members: found.iter().map(convert::member).collect(),
        next_page_token: last
            .map(|it| format!("{}.{}", it.user_id.simple(), it.role_code))
            .unwrap_or_default(),
    })
}
