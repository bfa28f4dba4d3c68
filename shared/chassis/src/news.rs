//! News from an outbox, as a stream that stays open.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::refusal::{FieldError, field_error};

/// How often the outbox is looked at when nothing in this process wakes the stream.
const EVERY: Duration = Duration::from_millis(500);

/// The place in the order of news that a resume token spells; the beginning for an empty one.
pub fn resume_position(token: &str) -> Result<i64, FieldError> {
    if token.is_empty() {
        return Ok(0);
    }
    token
        .parse()
        .ok()
        .filter(|position| 0 <= *position)
        .ok_or_else(|| field_error("resume_token", "the resume_token of an earlier change"))
}

/// Streams what `read` finds after `position`, each with its place, and goes on when `wake` says that
/// there may be more; tells by `bookmark`, once, that there is no more yet; ends with the stream's reader or at
/// the first failure.
pub fn news<T, E, F>(
    wake: Arc<Notify>,
    (mut position, mut bookmark): (i64, Option<T>),
    read: impl Fn(i64) -> F + Send + 'static,
) -> ReceiverStream<Result<T, Status>>
where
    T: Send + 'static,
    E: Into<Status> + Send,
    F: Future<Output = Result<Vec<(i64, T)>, E>> + Send,
{
    let (sender, receiver) = mpsc::channel(16);
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the stream: its sends fail when the reader is gone"
    )]
    tokio::spawn(async move {
        loop {
            let mut woken = pin!(wake.notified());
            woken.as_mut().enable();
            match read(position).await {
                Ok(news) if news.is_empty() => {
                    if sender.is_closed() {
                        return;
                    }
                    if let Some(caught_up) = bookmark.take() {
                        let _ = sender.send(Ok(caught_up)).await;
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
    ReceiverStream::new(receiver)
}

/// How long a stream without news is kept before a step of a job ends.
const QUIET: Duration = Duration::from_secs(1);
/// News taken notice of in one step, so that the process can stop.
const BATCH: usize = 500;

/// Takes notice of what a stream tells until it is quiet, as a step of a job; gives how much it told.
///
/// # Errors
/// The stream's failure, or the first of `take`.
pub async fn follow<T, E: From<Status>>(
    mut news: tonic::Streaming<T>,
    mut take: impl AsyncFnMut(T) -> Result<(), E>,
) -> Result<usize, E> {
    let mut found = 0;
    while found < BATCH
        && let Ok(next) = tokio::time::timeout(QUIET, news.message()).await
    {
        let Some(told) = next? else {
            break;
        };
        take(told).await?;
        found += 1;
    }
    Ok(found)
}
