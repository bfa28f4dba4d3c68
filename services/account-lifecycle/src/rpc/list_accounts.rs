//! `AccountService.ListAccounts`

use chassis::{Caller, Page, wire};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{self, Tenant, accounts};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListAccountsRequest,
) -> Result<pb::ListAccountsResponse, Error> {
    let parent: Option<AccountId> =
        wire::optional_id("parent_account_id", &request.parent_account_id)?;
    let profile = wire::optional_code("profile_code", &request.profile_code)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let mut tx = ctx.db.begin().await?;
    // A person sees the accounts that they have a role in, of whatever tenant.
    store::enter(&mut tx, Tenant::All).await?;
    let filter = (parent.map(AccountId::uuid), profile, permit::person(caller));
    let found = accounts::list(&mut tx, filter, before, page.size + 1).await?;
    tx.commit().await?;
    let now = ctx.clock.now().await?;
    let (found, last) = page.cut(found);
    let token = |it: accounts::Account| token(it.created_at, it.account_id);
    Ok(pb::ListAccountsResponse {
        accounts: found.iter().map(|it| convert::account(it, now)).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}

/// The page token of a position.
pub fn token(at: DateTime<Utc>, id: Uuid) -> String {
    format!("{}.{}", at.timestamp_micros(), id.simple())
}

/// The position in a page token of things listed by the time they were made.
pub fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((
        DateTime::from_timestamp_micros(at.parse().ok()?)?,
        Uuid::try_parse(id).ok()?,
    ))
}
