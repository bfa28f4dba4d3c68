//! Follows the stream of timeline changes of `plan`, and keeps the renewals of plans paid in advance.

use chassis::{Aside, PgConnection};
use chrono::{DateTime, Utc};
use proto::plan::v1 as plan;
use tonic::Status;
use values::AccountId;

use super::queue;
use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::renewal;
use crate::store::watch_positions;

/// Name of the followed stream in `billing.watch_positions`.
const SOURCE: &str = "plan.timelines";
/// Name of this job.
const JOB: &str = "follow_timelines";

/// Applies every change since the last position; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut from = position(ctx).await?;
    let news = open(ctx, &from, false).await?;
    chassis::follow(&ctx.stopping, news, async |change| {
        if let Err(error) = take(ctx, Some(from.as_str()), &change).await {
            if !chassis::is_permanent(&error) {
                return Err(error);
            }
            // Each renewal asks `plan` again for the plan in force, so a change that can't be applied must not stop
            // the others.
            tracing::error!(
                account.id = change.account_id,
                error = %chassis::Chain(&error),
                "a timeline change can't be applied and is put aside; renewals still ask plan"
            );
            let places = (from.as_str(), change.resume_token.as_str());
            let passed = Aside::change(&change.account_id, places);
            let reason = chassis::Chain(&error).to_string();
            let mut tx = ctx.db.begin().await?;
            pass(&mut tx, places).await?;
            queue(ctx, JOB)
                .put_aside::<Ctx>(&mut tx, &passed, &reason)
                .await?;
            tx.commit().await?;
        }
        ctx.wake.notify_waiters();
        from = change.resume_token;
        Ok(())
    })
    .await
}

/// Applies the changes put aside that are due: each is read again from the stream; returns how many.
pub async fn again(ctx: &Ctx) -> Result<usize, Error> {
    let queue = queue(ctx, JOB);
    let due = async |limit| Ok::<_, Error>(queue.due_aside(ctx, limit).await?);
    let one = async |passed: &Aside| {
        let news = open(ctx, &passed.input, true).await?;
        let found = chassis::first_of(news, |it| {
            it.caught_up || passed.key.starts_with(&it.account_id)
        });
        let change = found.await?;
        if !change.caught_up {
            take(ctx, None, &change).await?;
            ctx.wake.notify_waiters();
        }
        Ok::<_, Error>(())
    };
    queue.work(ctx, due, one).await
}

/// The last position.
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

/// Advances the position, unless another replica has advanced it.
async fn pass(db: &mut PgConnection, places: (&str, &str)) -> Result<(), Error> {
    if watch_positions::advance(db, SOURCE, places).await? {
        Ok(())
    } else {
        Err(Error::Twin(chassis::Twin))
    }
}

/// Applies one change and advances the position in the same transaction, unless the change was put aside before.
async fn take(
    ctx: &Ctx,
    from: Option<&str>,
    change: &plan::WatchTimelinesResponse,
) -> Result<(), Error> {
    let catalogue = ctx.active_catalogue().await?;
    let now = ctx.clock.now().await?;
    let in_advance = catalogue
        .families
        .get(&change.family_code)
        .is_some_and(|family| !family.in_arrears);
    let root: AccountId = change
        .account_id
        .parse()
        .map_err(|_| Error::Stored("id of plan"))?;
    let timeline = if in_advance {
        ctx.timeline(root, &change.family_code).await?
    } else {
        Vec::new()
    };
    let mut tx = ctx.db.begin().await?;
    if in_advance {
        followed(&mut tx, &catalogue, (root, change), &timeline, now).await?;
    }
    if let Some(from) = from {
        pass(&mut tx, (from, &change.resume_token)).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Applies a change of a plan paid in advance to the account.
async fn followed(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (root, change): (AccountId, &plan::WatchTimelinesResponse),
    timeline: &[plan::Segment],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let of = (root.uuid(), change.family_code.as_str());
    if let Some(segment) = &change.segment {
        renewal::follow(db, catalogue, of, segment, now).await?;
    }
    renewal::cancelled(db, of, timeline, now).await?;
    renewal::lapse(db, catalogue, (root.uuid(), timeline)).await
}

/// Whether a change is not applied yet. A test clock waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let from = position(ctx).await?;
    let first = open(ctx, &from, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
