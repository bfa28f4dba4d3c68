//! `BillingService.WatchBillingRun`

use std::pin::pin;
use std::time::Duration;

use chassis::wire;
use proto::billing::v1 as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use values::RunId;

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::runs;

/// How often the run is polled.
const EVERY: Duration = Duration::from_millis(200);

pub async fn handle(
    ctx: &Ctx,
    request: pb::WatchBillingRunRequest,
) -> Result<Streamed<pb::WatchBillingRunResponse>, Error> {
    let id: RunId = wire::id("billing_run_id", &request.billing_run_id)?;
    look(ctx, id).await?;
    let (sender, receiver) = mpsc::channel(1);
    let ctx = ctx.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the stream: its sends fail when the reader is gone"
    )]
    tokio::spawn(async move {
        loop {
            let mut woken = pin!(ctx.wake.notified());
            woken.as_mut().enable();
            let seen = look(&ctx, id).await;
            let ended = seen
                .as_ref()
                .map_or(true, |run| run.state() != pb::billing_run::State::Running);
            let news = seen
                .map(|run| pb::WatchBillingRunResponse {
                    billing_run: Some(run),
                })
                .map_err(Into::into);
            if sender.send(news).await.is_err() || ended {
                return;
            }
            // The end of the run is sent at once, its progress at this interval.
            let _ = tokio::time::timeout(EVERY, woken).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

async fn look(ctx: &Ctx, id: RunId) -> Result<pb::BillingRun, Error> {
    let mut db = ctx.db.acquire().await?;
    let run = runs::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    convert::run(&mut db, &run).await
}
