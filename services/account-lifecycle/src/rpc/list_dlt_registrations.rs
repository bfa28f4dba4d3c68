//! `AccountService.ListDltRegistrations`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;
use crate::store::dlt_registrations::{self, Registration};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListDltRegistrationsRequest,
) -> Result<pb::ListDltRegistrationsResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let account = permit::sees_root(ctx, caller, id).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let root = account.root_id;
    let found = dlt_registrations::list(&mut tx, root, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: Registration| token(it.created_at, it.registration_id);
    Ok(pb::ListDltRegistrationsResponse {
        dlt_registrations: found.iter().map(convert::dlt_registration).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}
