//! `AccountService.WatchAccounts`

use chassis::{news, resume_position};
use proto::account::v1 as pb;

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{self, Tenant, accounts, closings, transitions};

/// Changes read at once.
const BATCH: i64 = 100;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchAccountsRequest,
) -> Result<Streamed<pb::WatchAccountsResponse>, Error> {
    let position = resume_position(&request.resume_token)?;
    let reader = ctx.clone();
    let read = move |position| {
        let ctx = reader.clone();
        async move { changes(&ctx, position).await }
    };
    Ok(Box::pin(news(ctx.wake.clone(), (position, None), read)))
}

/// The changes after `position`, each with its account as it stands now.
async fn changes(ctx: &Ctx, position: i64) -> Result<Vec<(i64, pb::WatchAccountsResponse)>, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let mut changes = Vec::new();
    for (position, transition) in transitions::news(&mut tx, position, BATCH).await? {
        let account = accounts::get(&mut tx, transition.account_id)
            .await?
            .ok_or(Error::Stored("account"))?;
        let closing = match closings::get(&mut tx, account.account_id).await? {
            Some(own) => Some(own),
            None => closings::get(&mut tx, account.root_id).await?,
        };
        let change = pb::WatchAccountsResponse {
            account: Some(convert::closed(&account, closing.as_ref(), now)),
            transition: Some(convert::transition(transition)),
            resume_token: position.to_string(),
        };
        changes.push((position, change));
    }
    tx.commit().await?;
    Ok(changes)
}
