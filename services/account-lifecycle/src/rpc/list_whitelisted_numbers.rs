//! `AccountService.ListWhitelistedNumbers`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::domain::whitelist::Listed;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, whitelisted_numbers};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListWhitelistedNumbersRequest,
) -> Result<pb::ListWhitelistedNumbersResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let root = account.root_id;
    let found = whitelisted_numbers::list(&mut tx, root, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: Listed| token(it.created_at, it.number_id);
    Ok(pb::ListWhitelistedNumbersResponse {
        whitelisted_numbers: found.iter().map(convert::whitelisted_number).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}
