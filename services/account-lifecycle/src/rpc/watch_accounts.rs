//! `AccountService.WatchAccounts`
//!
//! Streams account changes after a resume token, from the outbox.

use chassis::{Place, news};
use proto::account::v1 as pb;

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, accounts, closings, transitions};

/// Changes read per query.
const BATCH: i64 = 100;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchAccountsRequest,
) -> Result<Streamed<pb::WatchAccountsResponse>, Error> {
    let place = Place::read(&request.resume_token)?;
    let reader = ctx.clone();
    let read = move |place| {
        let ctx = reader.clone();
        async move { changes(&ctx, &place).await }
    };
    Ok(Box::pin(news(
        (ctx.clone(), ctx.wake.clone()),
        (place, None),
        read,
    )))
}

/// The changes after a position, each with the present state of its account.
async fn changes(ctx: &Ctx, place: &Place) -> Result<Vec<(i64, pb::WatchAccountsResponse)>, Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let mut changes = Vec::new();
    for (position, transition) in transitions::news(&mut tx, place, BATCH).await? {
        let account = accounts::get(&mut tx, transition.account_id)
            .await?
            .ok_or(Error::Stored("account"))?;
        let closing = match closings::get(&mut tx, account.account_id).await? {
            Some(own) => Some(own),
            None => closings::get(&mut tx, account.root_id).await?,
        };
        let change = pb::WatchAccountsResponse {
            account: Some(convert::closed(&account, closing.as_ref(), now)?),
            transition: Some(convert::transition(transition)),
            resume_token: place.token(position),
        };
        changes.push((position, change));
    }
    tx.commit().await?;
    Ok(changes)
}
