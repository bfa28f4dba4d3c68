//! Follows what `plan` tells of timelines, and renews what is paid in advance.

use proto::plan::v1 as plan;
use sqlx::PgConnection;
use tonic::Status;
use values::AccountId;

use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::renewal;
use crate::store::watch_positions;

/// The name of what is followed.
const SOURCE: &str = "plan.timelines";

/// Takes notice of every change that has come since the last one; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let news = open(ctx, false).await?;
    let found = chassis::follow(news, async |change| take(ctx, &change).await).await?;
    ctx.wake.notify_waiters();
    Ok(found)
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

/// Takes notice of one change, and notes in the same transaction that it was. One that does not read is
/// told and passed: what is in force is asked for again at each renewal.
async fn take(ctx: &Ctx, change: &plan::WatchTimelinesResponse) -> Result<(), Error> {
    let catalogue = ctx.active_catalogue().await?;
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
        match followed(&mut tx, &catalogue, (root, change), &timeline).await {
            Ok(()) => {}
            Err(Error::Stored(what)) => {
                tracing::error!(account.id = %root, what, "news of a timeline does not read");
            }
            Err(error) => return Err(error),
        }
    }
    watch_positions::set(&mut tx, SOURCE, &change.resume_token).await?;
    tx.commit().await?;
    Ok(())
}

/// What a change of what is paid in advance means for the account.
async fn followed(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    (root, change): (AccountId, &plan::WatchTimelinesResponse),
    timeline: &[plan::Segment],
) -> Result<(), Error> {
    if let Some(segment) = &change.segment {
        let of = (root.uuid(), change.family_code.as_str());
        renewal::follow(db, catalogue, of, segment).await?;
    }
    renewal::lapse(db, catalogue, (root.uuid(), timeline)).await
}

/// Whether there is a change that was not taken notice of yet: asked by a test clock, which waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let first = open(ctx, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
