//! `AccountService.ListNotifications`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;
use crate::store::notifications::{self, Notification};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListNotificationsRequest,
) -> Result<pb::ListNotificationsResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let kind = wire::optional_code("kind_code", &request.kind_code)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    // The invoice recipient's address is shown only to callers who may see the billing details.
    let hidden = match permit::allowed(ctx, caller, id, Action::BuyCredits).await {
        Ok(_) | Err(Error::AccountClosed(_) | Error::AccountDormant(_)) => false,
        Err(Error::RoleNotAllowed(_)) => true,
        Err(error) => return Err(error),
    };
    let reader = ctx.reader(&account).await?;
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let of = (account.account_id, kind);
    let found = notifications::list(&mut tx, of, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: Notification| token(it.created_at, it.notification_id);
    let shown = found.iter().map(|it| {
        let mut shown = convert::notification(it, &reader)?;
        if hidden {
            shown.email.clear();
        }
        Ok::<_, Error>(shown)
    });
    Ok(pb::ListNotificationsResponse {
        notifications: shown.collect::<Result<_, _>>()?,
        next_page_token: last.map(token).unwrap_or_default(),
    })
}
