//! `AccountService.ListAccounts`

use chassis::{Caller, Page, wire};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::{AccountId, UserId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit::{self, Sight};
use crate::store::accounts::{self, Account, Filter};
use crate::store::{self, Tenant};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListAccountsRequest,
) -> Result<pb::ListAccountsResponse, Error> {
    let parent: Option<AccountId> =
        wire::optional_id("parent_account_id", &request.parent_account_id)?;
    let profile = wire::optional_code("profile_code", &request.profile_code)?;
    let owner: Option<UserId> = wire::optional_id("owner_user_id", &request.owner_user_id)?;
    let name = wire::optional_text("display_name", &request.display_name, 100)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let person = match permit::sight(caller)? {
        Sight::Own(person) => Some(person),
        Sight::All => None,
    };
    let mut tx = ctx.db.begin().await?;
    // A person sees every account in which they hold a role, across tenants.
    store::enter(&mut tx, Tenant::All).await?;
    let filter = Filter {
        parent: parent.map(AccountId::uuid),
        profile,
        member: person.map(UserId::uuid),
        owner: owner.map(UserId::uuid),
    };
    let limit = page.size + 1;
    let found = if name.is_empty() {
        let before = page.after(position)?;
        accounts::list(&mut tx, filter, before, limit).await?
    } else {
        let after = page.after(|text| text.parse::<AccountId>().ok())?;
        let after = after.map(AccountId::uuid);
        accounts::by_name(&mut tx, (name, filter), after, limit).await?
    };
    tx.commit().await?;
    let now = ctx.clock.now().await?;
    let (found, last) = page.cut(found);
    let token = |it: Account| {
        if name.is_empty() {
            token(it.created_at, it.account_id)
        } else {
            AccountId::from_uuid(it.account_id).to_string()
        }
    };
    Ok(pb::ListAccountsResponse {
        accounts: found.iter().map(|it| convert::account(it, now)).collect(),
        next_page_token: last.map(token).unwrap_or_default(),
    })
}

/// The page token of a position in a list ordered by creation time.
pub fn token(at: DateTime<Utc>, id: Uuid) -> String {
    format!("{}.{}", at.timestamp_micros(), id.simple())
}

/// The position in a page token of a list ordered by creation time.
pub fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((
        DateTime::from_timestamp_micros(at.parse().ok()?)?,
        Uuid::try_parse(id).ok()?,
    ))
}
