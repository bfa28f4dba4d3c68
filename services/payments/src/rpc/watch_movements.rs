//! `PaymentsService.WatchMovements`

use std::pin::pin;
use std::time::Duration;

use chassis::field_error;
use proto::payments::v1 as pb;
use proto::payments::v1::watch_movements_response::Movement;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{Streamed, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, enter, movements, outbox};

/// How often the outbox is looked at when nothing in this process wakes the stream.
const EVERY: Duration = Duration::from_millis(500);
/// Changes read at once.
const BATCH: i64 = 100;

pub fn handle(
    ctx: &Ctx,
    request: &pb::WatchMovementsRequest,
) -> Result<Streamed<pb::WatchMovementsResponse>, Error> {
    let mut position: i64 = match request.resume_token.as_str() {
        "" => 0,
        token => token
            .parse()
            .ok()
            .filter(|position| 0 <= *position)
            .ok_or_else(|| field_error("resume_token", "the resume_token of an earlier change"))?,
    };
    let (sender, receiver) = mpsc::channel(16);
    let ctx = ctx.clone();
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the stream: its sends fail when the reader is gone"
    )]
    tokio::spawn(async move {
        loop {
            let mut woken = pin!(ctx.wake.notified());
            woken.as_mut().enable();
            match news(&ctx, position).await {
                Ok(news) if news.is_empty() => {
                    if sender.is_closed() {
                        return;
                    }
                    let _ = tokio::time::timeout(EVERY, woken).await;
                }
                Ok(news) => {
                    for (at, change) in news {
                        if sender.send(Ok(change)).await.is_err() {
                            return;
                        }
                        position = at;
                    }
                }
                Err(error) => {
                    let _ = sender.send(Err(error.into())).await;
                    return;
                }
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(receiver)))
}

/// The changes after `position`, each with the movement as it stands now.
async fn news(ctx: &Ctx, position: i64) -> Result<Vec<(i64, pb::WatchMovementsResponse)>, Error> {
    let today = ctx.clock.now().await?.date_naive();
    let mut tx = ctx.db.begin().await?;
    enter(&mut tx, Tenant::All).await?;
    let mut news = Vec::new();
    for (position, root, id) in outbox::list(&mut tx, position, BATCH).await? {
        let movement = movements::get(&mut tx, root, id)
            .await?
            .ok_or(Error::Stored("movement"))?;
        let shown = if movement.kind == "REFUND" {
            Movement::Refund(convert::refund(&movement, today)?)
        } else {
            Movement::Charge(convert::charge(&movement)?)
        };
        let change = pb::WatchMovementsResponse {
            movement: Some(shown),
            resume_token: position.to_string(),
        };
        news.push((position, change));
    }
    tx.commit().await?;
    Ok(news)
}
