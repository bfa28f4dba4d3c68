//! Follows the timeline changes of `plan`: the end of a subscription limits its account.

use chassis::{Aside, PgConnection};
use proto::plan::v1 as plan;
use tonic::Status;
use values::AccountId;

use super::queue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::limit;
use crate::store::{Tenant, accounts, watch_positions};

/// Name of this source in `watch_positions`.
const SOURCE: &str = "plan.timelines";
/// Name of this job.
const JOB: &str = "follow_timelines";

/// Processes every change since the last step; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut from = position(ctx).await?;
    let news = open(ctx, &from, false).await?;
    chassis::follow(&ctx.stopping, news, async |change| {
        if let Err(error) = take(ctx, Some(from.as_str()), &change).await {
            if !chassis::is_permanent(&error) {
                return Err(error);
            }
            // A change that can't be processed must not stop the others.
            tracing::error!(account.id = change.account_id, error = %chassis::Chain(&error), "put aside a timeline change that cannot be processed");
            let places = (from.as_str(), change.resume_token.as_str());
            let passed = Aside::change(&change.account_id, places);
            let reason = chassis::Chain(&error).to_string();
            let mut tx = ctx.db.begin_as(Tenant::All).await?;
            pass(&mut tx, places).await?;
            queue(ctx, JOB)
                .put_aside::<Ctx>(&mut tx, &passed, &reason)
                .await?;
            tx.commit().await?;
        }
        from = change.resume_token;
        Ok(())
    })
    .await
}

/// Processes the changes put aside that are due: each is read again from the stream; returns how many.
pub async fn again(ctx: &Ctx) -> Result<usize, Error> {
    let queue = queue(ctx, JOB);
    let due = async |limit| Ok::<_, Error>(queue.due_aside(ctx, limit).await?);
    let one = async |passed: &Aside| {
        let news = open(ctx, &passed.input, true).await?;
        let found = chassis::first_of(news, |it| {
            it.caught_up || passed.key.starts_with(&it.account_id)
        });
        let change = found.await?;
        if change.caught_up {
            return Ok::<_, Error>(());
        }
        take(ctx, None, &change).await
    };
    queue.work(ctx, due, one).await
}

/// Advances the position; fails if another replica has advanced it in the meantime.
async fn pass(db: &mut PgConnection, places: (&str, &str)) -> Result<(), Error> {
    if watch_positions::advance(db, SOURCE, places).await? {
        Ok(())
    } else {
        Err(Error::Twin(chassis::Twin))
    }
}

/// The stored position.
async fn position(ctx: &Ctx) -> Result<String, Error> {
    let mut db = ctx.db.acquire().await?;
    Ok(watch_positions::get(&mut db, SOURCE).await?)
}

/// Opens the stream after a position.
async fn open(
    ctx: &Ctx,
    from: &str,
    allow_bookmark: bool,
) -> Result<tonic::Streaming<plan::WatchTimelinesResponse>, Error> {
    let request = plan::WatchTimelinesRequest {
        resume_token: from.to_owned(),
        allow_bookmark,
    };
    let opened = ctx.plan.clone().watch_timelines(request).await;
    Ok(opened.map_err(chassis::normalised)?.into_inner())
}

/// Processes one change and advances the position in the same transaction, unless the change was put aside before.
async fn take(
    ctx: &Ctx,
    from: Option<&str>,
    change: &plan::WatchTimelinesResponse,
) -> Result<(), Error> {
    let now = ctx.clock.now().await?;
    let root: AccountId = change
        .account_id
        .parse()
        .map_err(|_| Error::Stored("id of plan"))?;
    let segments = ctx.segments(root, &change.family_code).await?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    if accounts::get(&mut tx, root.uuid()).await?.is_some() {
        limit::follow(&mut tx, root.uuid(), &segments, now).await?;
    }
    if let Some(from) = from {
        pass(&mut tx, (from, &change.resume_token)).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Whether there are changes that have not been processed. The test clock waits for them.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let from = position(ctx).await?;
    let first = open(ctx, &from, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
