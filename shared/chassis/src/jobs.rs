//! Starting, repeating and stopping.

use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt as _;
use opentelemetry::metrics::{Counter, Meter};
use opentelemetry::{KeyValue, global};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{Chain, Owned, audit, requests, work};

/// How long what is written is gathered before it is looked for work.
const GATHERED: Duration = Duration::from_millis(50);
const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);
/// The longest pause of a job whose steps keep failing, unless its regular pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A token that is cancelled by SIGTERM or SIGINT. From then on SIGHUP does nothing: keys and certificates are read again
/// without being asked for, and a terminal that is gone ends no service.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    // Whoever has listened to a signal once is not ended by it any more.
    drop(signal(SignalKind::hangup())?);
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
    /// How long one whose step failed waits before it is tried again, at first.
    pub retry: Duration,
    /// Says that there may be some.
    pub wake: &'a Notify,
    /// Ends them.
    pub stop: &'a CancellationToken,
}

impl Pace<'_> {
    /// Calls `step` with `ctx` until it is stopped: again at once while it finds work, else after the pause or when woken.
    /// After a failure it always waits for the time of a retry.
    ///
    /// A step that has begun is finished before this returns. A step that fails or panics is tried again after that
    /// time, which grows: its transaction is undone, and the other jobs go on. Of failures in a row the first is
    /// logged, the second, the fourth, and so on.
    ///
    /// In reconcile-only mode, jobs that may move money end at once.
    ///
    /// A job that works through rows uses a [`Queue`](crate::Queue), so that one failing row does not fail the step.
    pub async fn repeat<C, E: Error + 'static>(
        &self,
        job: &str,
        ctx: &C,
        step: impl AsyncFn(&C) -> Result<usize, E>,
    ) {
        if !crate::reconciling::runs(job) {
            return;
        }
        let steps = steps(&global::meter("perdiem"));
        let ended = |outcome: &'static str| {
            let labels = [
                KeyValue::new("job.name", job.to_owned()),
                KeyValue::new("outcome", outcome),
            ];
            steps.add(1, &labels);
        };
        let mut failures = 0_u32;
        while !self.stop.is_cancelled() {
            // From here on: what is announced during the step is not missed.
            let mut woken = pin!(self.wake.notified());
            woken.as_mut().enable();
            let found = match AssertUnwindSafe(step(ctx)).catch_unwind().await {
                Ok(Ok(found)) => {
                    failures = 0;
                    ended(if found == 0 { "idle" } else { "worked" });
                    Some(found)
                }
                Ok(Err(error)) => {
                    failures = failures.saturating_add(1);
                    ended("failed");
                    if failures.is_power_of_two() {
                        tracing::error!(job, failures, error = %Chain(&error), "a step failed");
                    }
                    None
                }
                Err(_) => {
                    failures = failures.saturating_add(1);
                    ended("failed");
                    tracing::error!(job, "a step panicked");
                    None
                }
            };
            if found.unwrap_or(0) == 0 {
                tokio::select! {
                    () = self.stop.cancelled() => {}
                    () = woken, if found.is_some() => {}
                    () = tokio::time::sleep(self.after(failures)) => {}
                }
            }
        }
    }

    /// Looks for all jobs at once, by one statement, and wakes them when there is work; they need not look by themselves
    /// then. `next` gives how long it is until there is: it is waited for just so long, at most for the pause. It is
    /// asked again at once where `asked` says so, and where `written` says that there may be more, which is gathered
    /// for a moment. While there is work the jobs are woken again after the time of a retry: another may hold it, or it
    /// has failed; what is written meanwhile may be what they do.
    pub async fn look_out<C, E: Error + 'static>(
        &self,
        ctx: &C,
        (asked, written): (&Notify, &Notify),
        next: impl AsyncFn(&C) -> Result<Option<Duration>, E>,
    ) {
        let mut failures = 0_u32;
        while !self.stop.is_cancelled() {
            // From here on: what is announced during the look is not missed.
            let (mut asked, mut more) = (pin!(asked.notified()), pin!(written.notified()));
            asked.as_mut().enable();
            more.as_mut().enable();
            let (due, pause) = match next(ctx).await {
                Ok(Some(Duration::ZERO)) => {
                    failures = 0;
                    self.wake.notify_waiters();
                    (true, self.retry)
                }
                Ok(left) => {
                    failures = 0;
                    (false, left.map_or(self.pause, |left| left.min(self.pause)))
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures.is_power_of_two() {
                        tracing::error!(failures, error = %Chain(&error), "looking for work failed");
                    }
                    // Each looks by itself.
                    self.wake.notify_waiters();
                    (true, self.after(failures))
                }
            };
            let gathered = async {
                more.await;
                tokio::time::sleep(GATHERED).await;
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = asked => {}
                () = gathered, if !due => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// How long a job waits after so many failures in a row.
    fn after(&self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(1) else {
            return self.pause;
        };
        let longer = self.retry.saturating_mul(1 << doublings.min(8));
        longer.min(self.retry.max(PAUSE_MAX))
    }
}

/// The counter of the steps that jobs have ended.
fn steps(meter: &Meter) -> Counter<u64> {
    meter
        .u64_counter("job.steps")
        .with_description("Steps that a job has ended, by outcome: worked, idle or failed.")
        .build()
}

/// Housekeeping of every service: deletes expired answers and claims of work that is no longer due, and writes the
/// newest audit entries to their file.
pub async fn keep_house<C: Owned>(ctx: &C, stop: &CancellationToken) {
    let never = Notify::new();
    let every = |pause| Pace {
        pause,
        retry: pause,
        wake: &never,
        stop,
    };
    let (hour, minute) = (every(HOUR), every(MINUTE));
    let close_idle = async |ctx: &C| {
        ctx.db().shrink();
        Ok::<_, sqlx::Error>(0)
    };
    tokio::join!(
        hour.repeat("forget_answers", ctx, requests::forget_answers),
        hour.repeat("forget_claims", ctx, work::forget_claims),
        minute.repeat("anchor_audit", ctx, audit::anchor_audit),
        minute.repeat("close_idle_connections", ctx, close_idle),
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
            pause: Duration::from_hours(1),
            retry: Duration::from_millis(80),
            wake: &wake,
            stop: &stop,
        };
        pace.repeat("test", &(), step).await;
        assert_eq!(tries.get(), 2);
        assert!(
            Duration::from_millis(80) <= begun.elapsed(),
            "after the time of a retry"
        );
    }

    #[test]
    fn a_job_whose_steps_fail_waits_longer_each_time_up_to_a_bound() {
        let (stop, wake) = (CancellationToken::new(), Notify::new());
        let pace = |retry| Pace {
            pause: Duration::from_secs(30),
            retry,
            wake: &wake,
            stop: &stop,
        };
        let often = pace(Duration::from_millis(250));
        let waits = [0, 1, 2, 3, 4, 5, u32::MAX].map(|it| often.after(it).as_millis());
        assert_eq!(waits, [30_000, 250, 500, 1000, 2000, 2000, 2000]);
        let seldom = pace(Duration::from_secs(30));
        assert_eq!(seldom.after(9), Duration::from_secs(30));
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
            retry: Duration::from_hours(1),
            wake: &wake,
            stop: &stop,
        };
        tokio::time::timeout(Duration::from_secs(5), pace.repeat("test", &(), step))
            .await
            .unwrap();
        assert_eq!(tries.get(), 2);
    }

    #[tokio::test]
    async fn all_jobs_are_woken_by_one_look_when_work_is_due_or_written() {
        let (looks, stop, wake) = (Cell::new(0), CancellationToken::new(), Notify::new());
        let (asked, written, steps) = (Notify::new(), Notify::new(), Cell::new(0));
        let next = async |(): &()| {
            looks.set(looks.get() + 1);
            Ok::<_, std::io::Error>(match looks.get() {
                // It is not due yet, and the pause is long.
                1 => Some(Duration::from_millis(20)),
                // Nothing more, until something is written, and until it is asked for.
                3 | 4 => None,
                _ => Some(Duration::ZERO),
            })
        };
        let step = async |(): &()| {
            steps.set(steps.get() + 1);
            match steps.get() {
                2 => tokio::time::sleep(Duration::from_millis(50)).await,
                3 => stop.cancel(),
                _ => {}
            }
            Ok::<_, std::io::Error>(0)
        };
        let pace = Pace {
            pause: Duration::from_hours(1),
            retry: Duration::from_millis(40),
            wake: &wake,
            stop: &stop,
        };
        let write = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!((looks.get(), steps.get()), (3, 2), "quiet");
            written.notify_waiters();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!((looks.get(), steps.get()), (4, 2), "looked, found nothing");
            asked.notify_waiters();
        };
        let all = async {
            tokio::join!(
                pace.repeat("test", &(), step),
                pace.look_out(&(), (&asked, &written), next),
                write
            )
        };
        tokio::time::timeout(Duration::from_secs(5), all)
            .await
            .unwrap();
        assert_eq!(steps.get(), 3);
    }
}
