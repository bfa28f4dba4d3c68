//! `AccountService.GetAccount`

use chassis::{Caller, field_error, wire};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{permit, stood};
use crate::store::accounts::Account;
use crate::store::{Tenant, closings};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::GetAccountRequest,
) -> Result<pb::GetAccountResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let at = wire::optional_instant("read_time", request.read_time)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let now = ctx.clock.now().await?;
    let shown = match at {
        None => closed(ctx, &account, now).await?,
        Some(at) if now < at => {
            return Err(field_error("read_time", "a time that is not in the future").into());
        }
        Some(at) if at < account.created_at => return Err(Error::AccountNotFound(id)),
        Some(at) => convert::account(&stood::then(ctx, &account, at).await?, at),
    };
    Ok(pb::GetAccountResponse {
        account: Some(shown),
    })
}

/// An account in its present state, with its closing.
async fn closed(ctx: &Ctx, account: &Account, now: DateTime<Utc>) -> Result<pb::Account, Error> {
    if account.closed_at.is_none() {
        return Ok(convert::account(account, now));
    }
    let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
    let mut closing = match closings::get(&mut tx, account.account_id).await? {
        Some(own) => Some(own),
        None => closings::get(&mut tx, account.root_id).await?,
    };
    tx.commit().await?;
    // A refund that failed is paid by a later attempt, which has another id.
    if let Some(closing) = closing.as_mut().filter(|it| it.refund_minor != 0) {
        match ctx.closing_refunds(closing.root_id).await {
            Ok(ids) => closing.refund_ids = ids,
            Err(error) => {
                tracing::warn!(account.id = %closing.root_id, error = %chassis::Chain(&error), "refunds of a closing could not be read; those of the time of closing are shown");
            }
        }
    }
    convert::closed(account, closing.as_ref(), now)
}
