//! `AccountService.ListUsers`

use chassis::{Caller, Page};
use proto::account::v1 as pb;
use values::UserId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::users;

pub async fn handle(
    ctx: &Ctx,
    _: &Caller,
    request: pb::ListUsersRequest,
) -> Result<pb::ListUsersResponse, Error> {
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<UserId>().ok())?;
    let found = users::list(
        &mut *ctx.db.acquire().await?,
        before.map(UserId::uuid),
        page.size + 1,
    )
    .await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListUsersResponse {
        users: found.iter().map(convert::user).collect(),
        next_page_token: last
            .map(|user| UserId::from_uuid(user.user_id).to_string())
            .unwrap_or_default(),
    })
}
