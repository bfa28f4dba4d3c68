//! Starting, repeating and stopping.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Chain, Owned, audit, requests};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A token that is cancelled by SIGTERM or SIGINT.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signal, stop) = (signal(kind)?, stop.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "waits for a signal; nothing to finish"
        )]
        tokio::spawn(async move {
            signal.recv().await;
            stop.cancel();
        });
    }
    Ok(stop)
}

/// When jobs look for work, and until when.
#[derive(Debug, Clone, Copy)]
pub struct Pace<'a> {
    /// How long a job that finds none waits before it looks again.
    pub pause: Duration,
    /// Says that there may be some.
    pub wake: &'a Notify,
    /// Ends them.
    pub stop: &'a CancellationToken,
}

impl Pace<'_> {
    /// Calls `step` with `ctx` until it is stopped: again at once while it finds work, else after the pause or when woken.
    /// After a failure it always waits.
    ///
    /// A step that has begun is finished before this returns. A step that fails or panics is logged and
    /// tried again after the pause: its transaction is undone, and the other jobs go on.
    pub async fn repeat<C, E: Error + 'static>(
        &self,
        job: &str,
        ctx: &C,
        step: impl AsyncFn(&C) -> Result<usize, E>,
    ) {
        while !self.stop.is_cancelled() {
            // From here on: what is announced during the step is not missed.
            let mut woken = pin!(self.wake.notified());
            woken.as_mut().enable();
            let found = match AssertUnwindSafe(step(ctx)).catch_unwind().await {
                Ok(Ok(found)) => Some(found),
                Ok(Err(error)) => {
                    tracing::error!(job, error = %Chain(&error), "a step failed");
                    None
                }
                Err(_) => {
                    tracing::error!(job, "a step panicked");
                    None
                }
            };
            if found.unwrap_or(0) == 0 {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = woken, if found.is_some() => {}
                    () = tokio::time::sleep(self.pause) => {}
                }
            }
        }
    }
}

/// What every service does besides: answers are forgotten that are not given again any more, and the newest entries
/// of its audit are written to their file.
pub async fn keep_house<C: Owned>(ctx: &C, stop: &CancellationToken) {
    let never = Notify::new();
    let every = |pause| Pace {
        pause,
        wake: &never,
        stop,
    };
    let (hour, minute) = (every(HOUR), every(MINUTE));
    tokio::join!(
        hour.repeat("forget_answers", ctx, requests::forget_answers),
        minute.repeat("anchor_audit", ctx, audit::anchor_audit),
    );
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_step_that_panics_is_tried_again() {
        let (tries, stop, wake) = (Cell::new(0), CancellationToken::new(), Notify::new());
        let step = async |(): &()| {
            tries.set(tries.get() + 1);
            wake.notify_waiters();
            assert!(1 < tries.get(), "the first try panics");
            stop.cancel();
            Ok::<_, std::io::Error>(0)
        };
        let begun = std::time::Instant::now();
        let pace = Pace {
            pause: Duration::from_millis(80),
            wake: &wake,
            stop: &stop,
        };
        pace.repeat("test", &(), step).await;
        assert_eq!(tries.get(), 2);
        assert!(
            Duration::from_millis(80) <= begun.elapsed(),
            "after its pause"
        );
    }

    #[tokio::test]
    async fn a_step_begins_when_there_is_news_and_not_only_after_the_pause() {
        let (tries, stop, wake) = (Cell::new(0), CancellationToken::new(), Notify::new());
        let step = async |(): &()| {
            tries.set(tries.get() + 1);
            // News that comes during a step is not missed.
            wake.notify_waiters();
            if tries.get() == 2 {
                stop.cancel();
            }
            Ok::<_, std::io::Error>(0)
        };
        let pace = Pace {
            pause: Duration::from_hours(1),
            wake: &wake,
            stop: &stop,
        };
        tokio::time::timeout(Duration::from_secs(5), pace.repeat("test", &(), step))
            .await
            .unwrap();
        assert_eq!(tries.get(), 2);
    }
}
