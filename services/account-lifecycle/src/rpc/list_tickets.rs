//! `AccountService.ListTickets`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{Tenant, tickets};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListTicketsRequest,
) -> Result<pb::ListTicketsResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let found = tickets::list(&mut tx, account.account_id, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: tickets::Ticket| token(it.created_at, it.ticket_id);
    Ok(pb::ListTicketsResponse {
        tickets: found.iter().map(convert::ticket).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}
