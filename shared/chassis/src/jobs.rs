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

/// Calls `step` until `stop`: again at once while it finds work, else after `pause` or when `wake`
/// says that there is some. After a failure it always waits.
///
/// A step that has begun is finished before this returns. A step that fails or panics is logged and
/// tried again after `pause`: its transaction is undone, and the other jobs go on.
pub async fn repeat<E: Error + 'static>(
    job: &str,
    (pause, wake): (Duration, &Notify),
    stop: &CancellationToken,
    step: impl AsyncFn() -> Result<usize, E>,
) {
    while !stop.is_cancelled() {
        // From here on: what is announced during the step is not missed.
        let mut woken = pin!(wake.notified());
        woken.as_mut().enable();
        let found = match AssertUnwindSafe(step()).catch_unwind().await {
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
                () = stop.cancelled() => {}
                () = woken, if found.is_some() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// What every service does besides: answers are forgotten that are not given again any more, and the newest entries
/// of its audit are written to their file.
pub async fn keep_house<C: Owned>(ctx: &C, stop: &CancellationToken) {
    let never = Notify::new();
    let forget = repeat("forget_answers", (HOUR, &never), stop, async || {
        requests::forget_answers(ctx).await
    });
    let anchor = repeat("anchor_audit", (MINUTE, &never), stop, async || {
        audit::anchor_audit(ctx).await
    });
    tokio::join!(forget, anchor);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_step_that_panics_is_tried_again() {
        let (tries, stop, wake) = (Cell::new(0), CancellationToken::new(), Notify::new());
        let step = async || {
            tries.set(tries.get() + 1);
            wake.notify_waiters();
            assert!(1 < tries.get(), "the first try panics");
            stop.cancel();
            Ok::<_, std::io::Error>(0)
        };
        let begun = std::time::Instant::now();
        repeat("test", (Duration::from_millis(80), &wake), &stop, step).await;
        assert_eq!(tries.get(), 2);
        assert!(
            Duration::from_millis(80) <= begun.elapsed(),
            "after its pause"
        );
    }

    #[tokio::test]
    async fn a_step_begins_when_there_is_news_and_not_only_after_the_pause() {
        let (tries, stop, wake) = (Cell::new(0), CancellationToken::new(), Notify::new());
        let step = async || {
            tries.set(tries.get() + 1);
            // News that comes during a step is not missed.
            wake.notify_waiters();
            if tries.get() == 2 {
                stop.cancel();
            }
            Ok::<_, std::io::Error>(0)
        };
        let jobs = repeat("test", (Duration::from_hours(1), &wake), &stop, step);
        tokio::time::timeout(Duration::from_secs(5), jobs)
            .await
            .unwrap();
        assert_eq!(tries.get(), 2);
    }
}
