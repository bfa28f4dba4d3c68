//! Follows what `plan` tells of timelines: the end of a subscription limits its account.

use std::time::Duration;

use proto::plan::v1 as plan;
use tonic::Status;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::limit;
use crate::store::{self, Tenant, accounts, watch_positions};

/// The name of what is followed.
const SOURCE: &str = "plan.timelines";
/// How long a stream without news is kept before a step ends.
const QUIET: Duration = Duration::from_secs(1);
/// Changes taken notice of before a step ends, so that the process can stop.
const BATCH: usize = 500;
/// How long the first news may take where there are some.
const FIRST: Duration = Duration::from_millis(300);

/// Takes notice of every change that has come since the last one; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut news = open(ctx).await?;
    let mut found = 0;
    while let Ok(next) = tokio::time::timeout(QUIET, news.message()).await {
        let Some(change) = next? else {
            break;
        };
        take(ctx, &change).await?;
        found += 1;
        if BATCH <= found {
            break;
        }
    }
    Ok(found)
}

async fn open(ctx: &Ctx) -> Result<tonic::Streaming<plan::WatchTimelinesResponse>, Error> {
    let mut db = ctx.db.acquire().await?;
    let resume_token = watch_positions::get(&mut db, SOURCE).await?;
    drop(db);
    let request = plan::WatchTimelinesRequest { resume_token };
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
    let mut news = open(ctx).await?;
    match tokio::time::timeout(FIRST, news.message()).await {
        Ok(next) => Ok(next?.is_some()),
        Err(_) => Ok(false),
    }
}
