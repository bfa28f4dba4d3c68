//! News from an outbox, as a stream that stays open.

use std::error::Error;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::client::normalised;
use crate::database::causes;
use crate::refusal::{FieldError, field_error};
use crate::trace::traced;
use crate::{Database, Owned, Twin};

/// How often the outbox is looked at when nothing commits in this process and nothing wakes the stream: what other
/// processes have written is told within it, so that a status follows within a second (D4).
const EVERY: Duration = Duration::from_millis(800);
/// How long commits are gathered before the outbox is looked at.
const GATHERED: Duration = Duration::from_millis(20);

/// Where a reader of an outbox stands, as a resume token spells it.
///
/// Rows become visible in another order than they were numbered in: of two transactions the one that numbered its row
/// later may end first. A place is therefore no number alone: all that `told` shows was told, and of what `telling`
/// shows besides, all up to `position`. So nothing is passed over, and what was written under one lock is told in the
/// order of that lock.
///
/// Snapshots are valid only within one history of one cluster: a database restored from a dump numbers its
/// transactions from the start, and one recovered to a point in time has lost some. When the history has changed, the
/// reader resumes by position: everything after a point shortly before that position is sent again, since a duplicate
/// does less harm than a gap. Recovery may also have reused positions, so the resume point is never after the newest
/// row.
/// case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What was told: a snapshot of the database, as text.
    pub told: String,
    /// What is being told.
    pub telling: String,
    /// The last row of it that was told.
    pub position: i64,
    /// The cluster and timeline to which the snapshots belong; empty if unknown.
    history: String,
    /// During a replay: the snapshot at its start. It becomes `told` when the replay ends.
    base: Option<String>,
}

impl Place {
    /// The place that a resume token spells; the beginning for an empty one.
    ///
    /// # Errors
    /// A token that is none, by its field.
    pub fn read(token: &str) -> Result<Self, FieldError> {
        let parsed = match token.split('/').collect::<Vec<_>>().as_slice() {
            [""] => Some((NOTHING, NOTHING, "0", "")),
            // Of before tokens had snapshots.
            [position] => Some((NOTHING, NOTHING, *position, "")),
            // Tokens from before histories were recorded.
            [told, telling, position] => Some((*told, *telling, *position, "")),
            [told, telling, position, history] if is_history(history) => {
                Some((*told, *telling, *position, *history))
            }
            _ => None,
        };
        let place = parsed.and_then(|(told, telling, position, history)| {
            let position = position.parse().ok().filter(|it| 0 <= *it)?;
            let anew = telling == ANEW && !history.is_empty();
            (is_snapshot(told) && (anew || is_snapshot(telling))).then(|| Self {
                told: if anew { NOTHING } else { told }.to_owned(),
                telling: if anew { ALL } else { telling }.to_owned(),
                position,
                history: history.to_owned(),
                base: anew.then(|| told.to_owned()),
            })
        });
        place.ok_or_else(|| field_error("resume_token", "the resume_token of an earlier change"))
    }

    /// The place at the start of what `telling` shows and this one's snapshots do not.
    fn next(self, telling: String) -> Self {
        Self {
            told: self.base.unwrap_or(self.telling),
            telling,
            position: 0,
            history: self.history,
            base: None,
        }
    }

    /// The place at which a replay starts, in a `history` whose current snapshot is `base` and whose last row is
    /// `newest`.
    fn anew(self, history: String, base: String, newest: i64) -> Self {
        let position = self.position.min(newest).saturating_sub(OVERLAP);
        Self {
            told: NOTHING.to_owned(),
            telling: ALL.to_owned(),
            position: position.max(0),
            history,
            base: Some(base),
        }
    }

    /// The token of the place after the row at `position`.
    pub fn token(&self, position: i64) -> String {
        let (told, telling) = match &self.base {
            Some(base) => (base, ANEW),
            None => (&self.told, self.telling.as_str()),
        };
        format!("{told}/{telling}/{position}/{}", self.history)
    }
}

/// A snapshot that shows nothing.
const NOTHING: &str = "1:1:";
/// A snapshot in which every committed row is visible, whichever cluster committed it.
const ALL: &str = "1:9223372036854775807:";
/// Its short form in a token.
const ANEW: &str = "*";
/// How many rows before its position, or before the newest row, a replay starts: rows may have been numbered earlier
/// but committed later, or have reused positions.
const OVERLAP: i64 = 1_000;

/// Whether a text is a history in the form that `seen` returns: the cluster's identifier and its timeline.
fn is_history(text: &str) -> bool {
    text.split_once('-').is_some_and(|(cluster, timeline)| {
        let fits = |text: &str, most| (1..=most).contains(&text.len());
        fits(cluster, 20)
            && cluster.bytes().all(|byte| byte.is_ascii_digit())
            && fits(timeline, 8)
            && timeline.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

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
/// first failure. The outbox is the table of that name in the service's schema.
pub fn news<C, T, E, F>(
    (ctx, wake): (C, Arc<Notify>),
    (mut place, mut bookmark): (Place, Option<T>),
    read: impl Fn(Place) -> F + Send + Sync + 'static,
) -> ReceiverStream<Result<T, Status>>
where
    C: Owned,
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
            // The token's snapshot.
            let mut left = true;
            while !sender.is_closed() {
                // From here on: what is announced meanwhile is not missed.
                let mut woken = pin!(wake.notified());
                woken.as_mut().enable();
                let mut committed = pin!(ctx.db().committed().notified());
                committed.as_mut().enable();
                let (history, shown) = seen(ctx.db()).await?;
                if place.history != history {
                    place = place.anew(history, shown.clone(), newest(&ctx).await?);
                    left = true;
                }
                if left {
                    tell(&sender, &mut place, &read).await?;
                    left = false;
                }
                // Nothing was written since: there is nothing to read.
                if place.base.is_some() || place.telling != shown {
                    place = place.next(shown);
                    tell(&sender, &mut place, &read).await?;
                }
                if let Some(caught_up) = bookmark.take() {
                    let _ = sender.send(Ok(caught_up)).await;
                }
                tokio::select! {
                    () = woken => {}
                    () = committed => tokio::time::sleep(GATHERED).await,
                    () = sender.closed() => {}
                    () = tokio::time::sleep(EVERY) => {}
                }
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

/// The history of the database, and its current snapshot.
///
/// A cluster that is restored from a base backup keeps its identifier and starts a new timeline. A cluster into which
/// a dump is restored has its own identifier.
async fn seen(db: &Database) -> sqlx::Result<(String, String)> {
    sqlx::query_as(
        "-- snapshot
        SELECT system_identifier::text || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8),
               pg_current_snapshot()::text
        FROM pg_control_system()",
    )
    .fetch_one(&mut db.acquire().await?)
    .await
}

/// The position of the newest row of a service's outbox; 0 if it is empty.
async fn newest<C: Owned>(ctx: &C) -> sqlx::Result<i64> {
    let schema = C::SCHEMA;
    sqlx::query_scalar(AssertSqlSafe(format!(
        "-- {schema}.outbox.newest\nSELECT coalesce(max(position), 0) FROM {schema}.outbox"
    )))
    .fetch_one(&mut ctx.db().acquire().await?)
    .await
}

/// How long a stream without news is kept before a step of a job ends.
const QUIET: Duration = Duration::from_secs(30);
/// News taken notice of in one step, so that the process can stop.
const BATCH: usize = 500;

/// Takes notice of what a stream tells until it is quiet for long, or `stop`, as a step of a job; gives how much it
/// told.
///
/// `take` must store the new resume token in the same transaction as its other changes, and only if the stored token
/// is still the one before: of several replicas that follow the same stream, exactly one processes each change. The
/// others return [`Twin`], which ends the step; the next step resumes at the stored token.
///
/// # Errors
/// The stream's failure, or the first of `take`.
pub async fn follow<T, E: Error + From<Status> + 'static>(
    stop: &CancellationToken,
    mut news: tonic::Streaming<T>,
    mut take: impl AsyncFnMut(T) -> Result<(), E>,
) -> Result<usize, E> {
    let mut found = 0;
    while found < BATCH {
        let next = tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(QUIET) => break,
            next = news.message() => next,
        };
        let told = match next.map_err(normalised) {
            Ok(Some(told)) => told,
            // A stream ends when its server stops or its connection is old; the next step resumes.
            Ok(None) => break,
            Err(status) if status.code() == Code::Unavailable => break,
            Err(status) => return Err(status.into()),
        };
        match traced("follow", take(told)).await {
            Ok(()) => found += 1,
            Err(error) if causes(&error).any(<dyn Error>::is::<Twin>) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Reads a stream until a message fits.
///
/// # Errors
/// The stream's failure; [`Code::Unavailable`] if it ends before.
pub async fn first_of<T>(
    mut news: tonic::Streaming<T>,
    fits: impl Fn(&T) -> bool,
) -> Result<T, Status> {
    while let Some(told) = news.message().await.map_err(normalised)? {
        if fits(&told) {
            return Ok(told);
        }
    }
    Err(Status::unavailable("the stream has ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "7310000000000000001-00000001";

    fn place() -> Place {
        Place {
            told: "740:745:741,743".to_owned(),
            telling: "745:745:".to_owned(),
            position: 7,
            history: HERE.to_owned(),
            base: None,
        }
    }

    #[test]
    fn a_token_is_a_place_or_is_refused() {
        assert_eq!(Place::read(&place().token(7)), Ok(place()));
        let anew = place().anew(HERE.to_owned(), "900:900:".to_owned(), 7);
        assert_eq!(anew.token(5), format!("900:900:/*/5/{HERE}"));
        let read = Place::read(&anew.token(5)).unwrap();
        assert_eq!(
            read,
            Place {
                position: 5,
                ..anew
            }
        );
        // Tokens from before they had a history, and from before they had snapshots.
        let beginning = Place::read("").unwrap();
        assert_eq!(Place::read("0"), Ok(beginning.clone()));
        assert_eq!(
            Place::read("12"),
            Ok(Place {
                position: 12,
                ..beginning
            })
        );
        assert_eq!(
            Place::read("740:745:741,743/745:745:/7"),
            Ok(Place {
                history: String::new(),
                ..place()
            })
        );
        for bad in [
            "x",
            "-1",
            "1:1:/1:1:",
            "1:1:/1:1:/-1",
            "1:1:/1:1:/1/1",
            "1:1:/*/1",
            "*/1:1:/1/1-1",
            "1:1:/1:1:/1/-1",
            "1:1:/1:1:/1/1-",
            "1:1:/1:1:/1/1-x",
            "1:1:/1:1:/1/x-1",
            "1:1:/1:1:/1/1-1/1",
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

    #[test]
    fn a_place_of_another_history_begins_anew_by_its_position_and_goes_on_from_what_was_shown_then()
    {
        assert!(is_snapshot(ALL) && is_snapshot(NOTHING));
        let far = Place {
            position: 5_000,
            ..place()
        };
        let elsewhere = || ("1-00000002".to_owned(), "30:30:".to_owned());
        let (history, base) = elsewhere();
        let back = far.clone().anew(history, base, 3_300);
        assert_eq!(back.position, 2_300, "its positions may have been reused");
        let (history, base) = elsewhere();
        let anew = far.anew(history, base, 6_000);
        assert_eq!(
            (anew.told.as_str(), anew.telling.as_str(), anew.position),
            (NOTHING, ALL, 4_000)
        );
        // An interrupted replay resumes at its token; what was not visible at its start follows.
        let mut resumed = Place::read(&anew.token(4_500)).unwrap();
        assert_eq!(resumed.position, 4_500);
        resumed = resumed.next("40:40:".to_owned());
        assert_eq!(resumed.token(1), "30:30:/40:40:/1/1-00000002");
        let (history, base) = elsewhere();
        let near = place().anew(history, base, 5_000);
        assert_eq!(near.position, 0);
    }
}
