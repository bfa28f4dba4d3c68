//! `AccountService.GetAccount`

use chassis::{Caller, field_error, wire};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::accounts::Account;
use crate::store::{self, Tenant, closings, transitions};

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
            return Err(field_error("read_time", "an instant that is not to come").into());
        }
        Some(at) if at < account.created_at => return Err(Error::AccountNotFound(id)),
        Some(at) => then(ctx, &account, at).await?,
    };
    Ok(pb::GetAccountResponse {
        account: Some(shown),
    })
}

/// An account as it stands, with how it was closed.
async fn closed(ctx: &Ctx, account: &Account, now: DateTime<Utc>) -> Result<pb::Account, Error> {
    if account.closed_at.is_none() {
        return Ok(convert::account(account, now));
    }
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(account.root_id)).await?;
    let closing = match closings::get(&mut tx, account.account_id).await? {
        Some(own) => Some(own),
        None => closings::get(&mut tx, account.root_id).await?,
    };
    tx.commit().await?;
    Ok(convert::closed(account, closing.as_ref(), now))
}

/// An account as it stood at an instant, by its history.
async fn then(ctx: &Ctx, account: &Account, at: DateTime<Utc>) -> Result<pb::Account, Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(account.root_id)).await?;
    let root = account.root_id;
    let r#type = transitions::last_before(&mut tx, root, "TYPE", at).await?;
    let mode = transitions::last_before(&mut tx, root, "MODE", at).await?;
    let status = transitions::last_before(&mut tx, account.account_id, "STATUS", at).await?;
    let kyc = transitions::last_before(&mut tx, root, "KYC", at).await?;
    tx.commit().await?;
    let past = |it: Option<DateTime<Utc>>| it.filter(|it| *it <= at);
    let (limited_at, limit_reason, dormant_at) = match mode {
        Some(it) if it.to_code == "LIMITED" => (Some(it.at), it.reason, None),
        Some(it) if it.to_code == "DORMANT" => (None, String::new(), Some(it.at)),
        Some(_) | None => (None, String::new(), None),
    };
    // The reason that was told last stands for all.
    let suspensions = status.iter().filter(|it| it.to_code == "SUSPENDED");
    let suspensions = suspensions
        .filter_map(|it| it.reason.split(':').next().map(str::to_owned))
        .collect();
    let stood = Account {
        r#type: r#type.map_or_else(|| account.r#type.clone(), |it| it.to_code),
        upgraded_at: past(account.upgraded_at),
        kyc_state: kyc.map_or_else(|| "NOT_SUBMITTED".to_owned(), |it| it.to_code),
        limited_at,
        limit_reason,
        dormant_at,
        suspensions,
        closed_at: past(account.closed_at),
        ..account.clone()
    };
    Ok(convert::account(&stood, at))
}
