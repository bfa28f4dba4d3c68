//! `AccountService.ListAccountHistory`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, transitions};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListAccountHistoryRequest,
) -> Result<pb::ListAccountHistoryResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let state = wire::optional_code("state_code", &request.state_code)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<i64>().ok())?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let range = (before, page.size + 1);
    let found = transitions::list(&mut tx, account.account_id, state, range).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListAccountHistoryResponse {
        transitions: found.into_iter().map(convert::transition).collect(),
        next_page_token: last.map(|it| it.sequence.to_string()).unwrap_or_default(),
    })
}
