//! `AccountService.GetAccount`

use chassis::{Caller, wire};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetAccountRequest,
) -> Result<pb::GetAccountResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let at = wire::optional_instant("read_time", request.read_time)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    // Nothing of an account changes yet but that it comes into being.
    if at.is_some_and(|at| at < account.created_at) {
        return Err(Error::AccountNotFound(id));
    }
    Ok(pb::GetAccountResponse {
        account: Some(convert::account(&account)),
    })
}
