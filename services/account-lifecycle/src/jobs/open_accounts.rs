//! Opens accounts in the other services whose `CreateAccount` was cut short.

use uuid::Uuid;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::open_account;
use crate::store::{Tenant, accounts};

/// Runs one round; returns how many accounts it processed.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let due = async |limit| {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let due = accounts::to_open(&mut tx, limit).await?;
        tx.commit().await?;
        Ok::<_, Error>(due)
    };
    let one = async |id: &Uuid| open(ctx, *id).await;
    super::queue(ctx, "open_accounts").work(ctx, due, one).await
}

async fn open(ctx: &Ctx, id: Uuid) -> Result<(), Error> {
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let account = accounts::get(&mut tx, id).await?;
    tx.commit().await?;
    match account.filter(|it| it.opened_at.is_none() && it.closed_at.is_none()) {
        Some(account) => open_account::finish(ctx, &account, now).await,
        None => Ok(()),
    }
}
