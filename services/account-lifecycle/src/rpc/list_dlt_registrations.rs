//! `AccountService.ListDltRegistrations`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::dlt_registrations::{self, Registration};
use crate::store::{self, Tenant};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListDltRegistrationsRequest,
) -> Result<pb::ListDltRegistrationsResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(account.root_id)).await?;
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
