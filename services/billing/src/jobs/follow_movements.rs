//! Follows what `payments` tells of charges and refunds, and books on it.

use proto::payments::v1 as payments;
use proto::payments::v1::watch_movements_response::Movement;
use sqlx::error::DatabaseError;
use tonic::Status;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::{collect, contest, give_back};
use crate::store::watch_positions;

/// The name of what is followed.
const SOURCE: &str = "payments.movements";

/// Books every change that has come since the last one; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let news = open(ctx, false).await?;
    chassis::follow(news, async |change| {
        if let Err(error) = book(ctx, &change).await {
            if !is_permanent(&error) {
                return Err(error);
            }
            set_aside(ctx, &change, &error).await?;
        }
        ctx.wake.notify_waiters();
        Ok(())
    })
    .await
}

/// Whether booking the same again would fail again: what was told does not fit what is stored.
fn is_permanent(error: &Error) -> bool {
    if let Error::Database(error) = error {
        let code = error.as_database_error().and_then(DatabaseError::code);
        // Values out of range, and constraints that are violated.
        return code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"));
    }
    !matches!(error, Error::Peer(_))
}

/// Keeps news that can't be booked for a person to look at, and goes on: others wait behind it.
async fn set_aside(
    ctx: &Ctx,
    change: &payments::WatchMovementsResponse,
    error: &Error,
) -> Result<(), Error> {
    let subject = match &change.movement {
        Some(Movement::Charge(charge)) => charge.charge_id.as_str(),
        Some(Movement::Refund(refund)) => refund.refund_id.as_str(),
        Some(Movement::Dispute(dispute)) => dispute.dispute_id.as_str(),
        None => "",
    };
    let reason = chassis::Chain(error).to_string();
    tracing::error!(
        movement.id = subject,
        reason,
        "news of money can't be booked"
    );
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    let place = (SOURCE, change.resume_token.as_str());
    watch_positions::insert_unbooked(&mut tx, place, (subject, &reason), now).await?;
    watch_positions::set(&mut tx, SOURCE, &change.resume_token).await?;
    tx.commit().await?;
    Ok(())
}

async fn open(
    ctx: &Ctx,
    allow_bookmark: bool,
) -> Result<tonic::Streaming<payments::WatchMovementsResponse>, Error> {
    let mut db = ctx.db.acquire().await?;
    let resume_token = watch_positions::get(&mut db, SOURCE).await?;
    drop(db);
    let request = payments::WatchMovementsRequest {
        resume_token,
        allow_bookmark,
    };
    let opened = ctx.payments.clone().watch_movements(request).await;
    Ok(opened.map_err(chassis::normalised)?.into_inner())
}

/// Books one change, and notes in the same transaction that it was.
async fn book(ctx: &Ctx, change: &payments::WatchMovementsResponse) -> Result<(), Error> {
    let catalogue = match &change.movement {
        Some(Movement::Charge(charge)) => collect::catalogue_of(ctx, charge).await?,
        Some(Movement::Dispute(_)) => Some(ctx.active_catalogue().await?),
        Some(Movement::Refund(_)) | None => None,
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
        Some(Movement::Dispute(dispute)) => {
            if let Some(catalogue) = catalogue {
                contest::keep(&mut tx, &catalogue, dispute, now).await?;
            }
        }
        None => {}
    }
    watch_positions::set(&mut tx, SOURCE, &change.resume_token).await?;
    tx.commit().await?;
    Ok(())
}

/// Whether there is a change that was not booked yet: asked by a test clock, which waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let first = open(ctx, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
