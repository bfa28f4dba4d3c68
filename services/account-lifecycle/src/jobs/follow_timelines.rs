//! Follows what `plan` tells of timelines: the end of a subscription limits its account.

use proto::plan::v1 as plan;
use tonic::Status;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::limit;
use crate::store::{self, Tenant, accounts, watch_positions};

/// The name of what is followed.
const SOURCE: &str = "plan.timelines";

/// Takes notice of every change that has come since the last one; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let news = open(ctx, false).await?;
    chassis::follow(news, async |change| {
        if let Err(error) = take(ctx, &change).await {
            let away = matches!(&error, Error::Peer(status) if chassis::is_away(status));
            if away || matches!(&error, Error::Database(_)) {
                return Err(error);
            }
            // One that can't be taken notice of must not stop the others.
            tracing::error!(account.id = change.account_id, error = %chassis::Chain(&error), "news of a timeline is passed over");
            pass(ctx, &change.resume_token).await?;
        }
        Ok(())
    })
    .await
}

/// Notes that news was followed which nothing came of.
async fn pass(ctx: &Ctx, token: &str) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    watch_positions::set(&mut tx, SOURCE, token).await?;
    tx.commit().await?;
    Ok(())
}

async fn open(
    ctx: &Ctx,
    allow_bookmark: bool,
) -> Result<tonic::Streaming<plan::WatchTimelinesResponse>, Error> {
    let mut db = ctx.db.acquire().await?;
    let resume_token = watch_positions::get(&mut db, SOURCE).await?;
    drop(db);
    let request = plan::WatchTimelinesRequest {
        resume_token,
        allow_bookmark,
    };
    let opened = ctx.plan.clone().watch_timelines(request).await;
    Ok(opened.map_err(chassis::normalised)?.into_inner())
}

/// Takes notice of one change, and notes in the same transaction that it was.
async fn take(ctx: &Ctx, change: &plan::WatchTimelinesResponse) -> Result<(), Error> {
    let now = ctx.clock.now().await?;
    let root: AccountId = change
        .account_id
        .parse()
        .map_err(|_| Error::Stored("id of plan"))?;
    let segments = ctx.segments(root, &change.family_code).await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    if accounts::get(&mut tx, root.uuid()).await?.is_some() {
        limit::follow(&mut tx, root.uuid(), &segments, now).await?;
    }
    watch_positions::set(&mut tx, SOURCE, &change.resume_token).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether there is a change that was not taken notice of yet: asked by a test clock, which waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let first = open(ctx, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
