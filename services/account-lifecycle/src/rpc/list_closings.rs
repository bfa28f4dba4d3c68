//! `AccountService.ListClosings`

use chassis::{Caller, FieldError, Page, field_error};
use proto::account::v1 as pb;

use super::convert;
use super::list_accounts::{position, token};
use crate::ctx::Ctx;
use crate::domain::closing::State;
use crate::error::Error;
use crate::store::{Tenant, closings};

pub async fn handle(
    ctx: &Ctx,
    _: &Caller,
    request: pb::ListClosingsRequest,
) -> Result<pb::ListClosingsResponse, Error> {
    let state = state(request.state)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let mut tx = ctx.db.snapshot_as(Tenant::All).await?;
    let found = closings::list(&mut tx, state, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let closings: Result<_, Error> = found.iter().map(convert::closing).collect();
    Ok(pb::ListClosingsResponse {
        closings: closings?,
        next_page_token: last
            .map(|it| token(it.close_at, it.account_id))
            .unwrap_or_default(),
    })
}

/// The state to list; `None` for all.
fn state(sent: i32) -> Result<Option<State>, FieldError> {
    match pb::closing::State::try_from(sent) {
        Ok(pb::closing::State::Unspecified) => Ok(None),
        Ok(pb::closing::State::Preparing) => Ok(Some(State::Preparing)),
        Ok(pb::closing::State::Ending) => Ok(Some(State::Ending)),
        Ok(pb::closing::State::Settling) => Ok(Some(State::Closed)),
        Ok(pb::closing::State::Done) => Ok(Some(State::Done)),
        Ok(pb::closing::State::Aborting) => Ok(Some(State::Aborting)),
        Err(_) => Err(field_error("state", "a state of closings, or unset")),
    }
}
