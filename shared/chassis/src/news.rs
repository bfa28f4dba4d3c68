//! News from an outbox, as a stream that stays open.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::refusal::{FieldError, field_error};

/// How often the outbox is looked at when nothing in this process wakes the stream.
const EVERY: Duration = Duration::from_millis(500);

/// Where a reader of an outbox stands, as a resume token spells it.
///
/// Rows become visible in another order than they were numbered in: of two transactions the one that numbered its row
/// later may end first. A place is therefore no number alone: all that `told` shows was told, and of what `telling`
/// shows besides, all up to `position`. So nothing is passed over, and what was written under one lock is told in the
/// order of that lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What was told: a snapshot of the database, as text.
    pub told: String,
    /// What is being told.
    pub telling: String,
    /// The last row of it that was told.
    pub position: i64,
}

impl Place {
    /// The place that a resume token spells; the beginning for an empty one.
    ///
    /// # Errors
    /// A token that is none, by its field.
    pub fn read(token: &str) -> Result<Self, FieldError> {
        let parsed = match token.split('/').collect::<Vec<_>>().as_slice() {
            [""] => Some((NOTHING, NOTHING, "0")),
            // Of before tokens had snapshots.
            [position] => Some((NOTHING, NOTHING, *position)),
            [told, telling, position] => Some((*told, *telling, *position)),
            _ => None,
        };
        let place = parsed.and_then(|(told, telling, position)| {
            let position = position.parse().ok().filter(|it| 0 <= *it)?;
            (is_snapshot(told) && is_snapshot(telling)).then(|| Self {
                told: told.to_owned(),
                telling: telling.to_owned(),
                position,
            })
        });
        place.ok_or_else(|| field_error("resume_token", "the resume_token of an earlier change"))
    }

    /// The place at the start of what `telling` shows and this one's snapshots do not.
    fn next(self, telling: String) -> Self {
        Self {
            // Before there were snapshots a number stood for all up to it.
            position: if self.telling == NOTHING {
                self.position
            } else {
                0
            },
            told: self.telling,
            telling,
        }
    }

    /// The token of the place after the row at `position`.
    pub fn token(&self, position: i64) -> String {
        format!("{}/{}/{position}", self.told, self.telling)
    }
}

/// A snapshot that shows nothing.
const NOTHING: &str = "1:1:";

/// Whether a text is a snapshot as PostgreSQL writes it: `xmin:xmax:` and the transactions between that run.
fn is_snapshot(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let [xmin, xmax, running] = parts.as_slice() else {
        return false;
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .ok()
            .filter(|xid| i64::try_from(*xid).is_ok())
    };
    let (Some(xmin), Some(xmax)) = (number(xmin), number(xmax)) else {
        return false;
    };
    let mut last = xmin.checked_sub(1);
    let in_order = running.is_empty()
        || running.split(',').all(|xid| {
            let found = number(xid).filter(|xid| last < Some(*xid) && *xid < xmax);
            last = found;
            found.is_some()
        });
    0 < xmin && xmin <= xmax && in_order
}

/// Streams what `read` finds of a place, each with its position, and goes on when `wake` says that there may be more;
/// tells by `bookmark`, once, that everything that is committed was told; ends with the stream's reader or at the
/// first failure.
pub fn news<T, E, F>(
    (db, wake): (PgPool, Arc<Notify>),
    (mut place, mut bookmark): (Place, Option<T>),
    read: impl Fn(Place) -> F + Send + Sync + 'static,
) -> ReceiverStream<Result<T, Status>>
where
    T: Send + 'static,
    E: Into<Status> + From<sqlx::Error> + Send,
    F: Future<Output = Result<Vec<(i64, T)>, E>> + Send,
{
    let (sender, receiver) = mpsc::channel(16);
    #[expect(
        clippy::disallowed_methods,
        reason = "ends with the stream: its sends fail when the reader is gone"
    )]
    tokio::spawn(async move {
        let told = async {
            // What was left of the token's snapshot first.
            tell(&sender, &mut place, &read).await?;
            while !sender.is_closed() {
                // From here on: what is announced meanwhile is not missed.
                let mut woken = pin!(wake.notified());
                woken.as_mut().enable();
                place = place.next(snapshot(&db).await?);
                tell(&sender, &mut place, &read).await?;
                if let Some(caught_up) = bookmark.take() {
                    let _ = sender.send(Ok(caught_up)).await;
                }
                let _ = tokio::time::timeout(EVERY, woken).await;
            }
            Ok::<_, E>(())
        };
        if let Err(error) = told.await {
            let _ = sender.send(Err(error.into())).await;
        }
    });
    ReceiverStream::new(receiver)
}

/// Tells what `read` finds of a place until it finds no more, or nobody listens.
async fn tell<T, E, F>(
    sender: &mpsc::Sender<Result<T, Status>>,
    place: &mut Place,
    read: impl Fn(Place) -> F,
) -> Result<(), E>
where
    F: Future<Output = Result<Vec<(i64, T)>, E>>,
{
    loop {
        let found = read(place.clone()).await?;
        if found.is_empty() {
            return Ok(());
        }
        for (position, change) in found {
            if sender.send(Ok(change)).await.is_err() {
                return Ok(());
            }
            place.position = position;
        }
        if sender.is_closed() {
            return Ok(());
        }
    }
}

/// What the database shows now.
async fn snapshot(db: &PgPool) -> sqlx::Result<String> {
    sqlx::query_scalar("-- snapshot\nSELECT pg_current_snapshot()::text")
        .fetch_one(db)
        .await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_place_or_is_refused() {
        let place = Place {
            told: "740:745:741,743".to_owned(),
            telling: "745:745:".to_owned(),
            position: 0,
        };
        assert_eq!(
            Place::read(&place.token(7)),
            Ok(Place {
                position: 7,
                ..place.clone()
            })
        );
        let beginning = Place::read("").unwrap();
        assert_eq!(Place::read("0"), Ok(beginning.clone()));
        assert_eq!(
            Place::read("12"),
            Ok(Place {
                position: 12,
                ..beginning
            })
        );
        for bad in [
            "x",
            "-1",
            "1:1:/1:1:",
            "1:1:/1:1:/-1",
            "1:1:/1:1:/1/1",
            "0:1:/1:1:/1",
            "2:1:/1:1:/1",
            "1:x:/1:1:/1",
            "1:5:5/1:1:/1",
            "1:5:3,2/1:1:/1",
            "1:5:3,3/1:1:/1",
            "3:5:2/1:1:/1",
            "1:5:,/1:1:/1",
            "1:1/1:1:/1",
            "1:18446744073709551615:/1:1:/1",
            "'; DROP/1:1:/1",
        ] {
            assert!(Place::read(bad).is_err(), "{bad}");
        }
    }
}
