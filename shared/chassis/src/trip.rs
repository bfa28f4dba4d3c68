//! What travels with a request beside its trace: its deadline, on whose behalf it is, and the place that its work takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::room::Permit;

/// What travels with a request through every call that it leads to.
#[derive(Debug, Clone)]
pub struct Trip {
    /// The person or operator at its beginning, as the audit names callers; empty for a job's.
    pub on_behalf_of: String,
    /// When the caller stops waiting; `None` for streams and jobs.
    pub deadline: Option<Instant>,
    /// The place that the work takes: held by every part of it, also by one that outlives the call.
    pub(crate) permit: Option<Arc<Permit>>,
}

tokio::task_local! {
    static TRIP: Trip;
}

impl Trip {
    /// The trip of the running task; `None` outside a request.
    pub fn current() -> Option<Self> {
        TRIP.try_with(Clone::clone).ok()
    }

    /// The same trip, whose work takes the place of `permit`.
    pub(crate) fn holding(self, permit: Permit) -> Self {
        Self {
            permit: Some(Arc::new(permit)),
            ..self
        }
    }

    /// Runs `work` on this trip.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        TRIP.scope(self, work).await
    }

    /// Runs `work` on the running trip without its deadline: each call of it has as long as a job's, though the
    /// caller may stop waiting meanwhile.
    pub async fn unhurried<T>(work: impl Future<Output = T>) -> T {
        match Self::current() {
            Some(trip) => {
                let trip = Self {
                    deadline: None,
                    ..trip
                };
                trip.scope(work).await
            }
            None => work.await,
        }
    }

    /// What is left of the deadline, less a margin for the way back.
    pub fn remaining(&self) -> Option<Duration> {
        const MARGIN: Duration = Duration::from_millis(20);
        self.deadline.map(|at| {
            at.saturating_duration_since(Instant::now())
                .saturating_sub(MARGIN)
        })
    }
}
