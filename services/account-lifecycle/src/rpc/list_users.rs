//! `AccountService.ListUsers`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;
use values::UserId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::Tenant;
use crate::store::users::{self, User};

pub async fn handle(
    ctx: &Ctx,
    _: &Caller,
    request: pb::ListUsersRequest,
) -> Result<pb::ListUsersResponse, Error> {
    let email = wire::optional_text("email", &request.email, 254)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<UserId>().ok())?;
    let mut tx = ctx.db.snapshot_as(Tenant::All).await?;
    let found: Vec<User> = if email.is_empty() {
        users::list(&mut tx, before.map(UserId::uuid), page.size + 1).await?
    } else {
        // One at most, so there is no next page.
        let found = users::with_email(&mut tx, email).await?;
        found.into_iter().collect()
    };
    tx.commit().await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListUsersResponse {
        users: found.iter().map(convert::user).collect(),
        next_page_token: last
            .map(|user| UserId::from_uuid(user.user_id).to_string())
            .unwrap_or_default(),
    })
}
