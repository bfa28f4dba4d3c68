//! Follows what `payments` tells of charges and refunds, and books on it.

use std::time::Duration;

use proto::payments::v1 as payments;
use proto::payments::v1::watch_movements_response::Movement;
use tonic::Status;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{collect, give_back};
use crate::store::watch_positions;

/// The name of what is followed.
const SOURCE: &str = "payments.movements";
/// How long a stream without news is kept before a step ends.
const QUIET: Duration = Duration::from_secs(1);
/// How long the first news may take where there are some.
const FIRST: Duration = Duration::from_millis(300);

/// Books every change that has come since the last one; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut news = open(ctx).await?;
    let mut found = 0;
    while let Ok(next) = tokio::time::timeout(QUIET, news.message()).await {
        let Some(change) = next? else {
            break;
        };
        book(ctx, &change).await?;
        found += 1;
        ctx.wake.notify_waiters();
    }
    Ok(found)
}

async fn open(ctx: &Ctx) -> Result<tonic::Streaming<payments::WatchMovementsResponse>, Error> {
    let mut db = ctx.db.acquire().await?;
    let resume_token = watch_positions::get(&mut db, SOURCE).await?;
    drop(db);
    let request = payments::WatchMovementsRequest { resume_token };
    let opened = ctx.payments.clone().watch_movements(request).await;
    Ok(opened.map_err(chassis::normalised)?.into_inner())
}

/// Books one change, and notes in the same transaction that it was.
async fn book(ctx: &Ctx, change: &payments::WatchMovementsResponse) -> Result<(), Error> {
    let catalogue = match &change.movement {
        Some(Movement::Charge(charge)) => collect::catalogue_of(ctx, charge).await?,
        Some(Movement::Refund(_) | Movement::Dispute(_)) | None => None,
    };
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    match &change.movement {
        Some(Movement::Charge(charge)) => {
            if let Some(catalogue) = catalogue {
                collect::keep(&mut tx, &catalogue, charge, now).await?;
            }
        }
        Some(Movement::Refund(refund)) => give_back::keep(&mut tx, refund, now).await?,
        Some(Movement::Dispute(_)) | None => {}
    }
    watch_positions::set(&mut tx, SOURCE, &change.resume_token).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether there is a change that was not booked yet: asked by a test clock, which waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let mut news = open(ctx).await?;
    match tokio::time::timeout(FIRST, news.message()).await {
        Ok(next) => Ok(next?.is_some()),
        Err(_) => Ok(false),
    }
}
