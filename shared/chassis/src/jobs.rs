//! Starting, repeating and stopping.

use std::error::Error;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::Chain;

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

/// Calls `step` until `stop`: again at once while it finds work, else after `pause`.
///
/// A step that has begun is finished before this returns. A step that fails is logged and tried
/// again after `pause`.
pub async fn repeat<E: Error + 'static>(
    job: &str,
    pause: Duration,
    stop: &CancellationToken,
    step: impl AsyncFn() -> Result<usize, E>,
) {
    while !stop.is_cancelled() {
        let found = step().await.unwrap_or_else(|error| {
            tracing::error!(job, error = %Chain(&error), "a step failed");
            0
        });
        if found == 0 {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
