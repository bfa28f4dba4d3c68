//! Reconcile-only mode: after a restore a service compares with providers and the other services, and moves no money
//! (R35).

use std::sync::OnceLock;
use std::time::Duration;

use tonic::{Code, Status};

use crate::{Caller, Refusal};

/// Jobs of every service that run in this mode, too.
const COMMON: &[&str] = &["anchor_audit", "close_idle_connections"];
/// How long a caller waits before it tries again: the mode lasts until a person ends it.
const LONG: Duration = Duration::from_mins(1);

/// The jobs of this service that run in this mode; unset outside of it.
static ONLY: OnceLock<&'static [&'static str]> = OnceLock::new();

/// Puts this process into the mode, in which only `jobs` run.
pub(crate) fn begin(jobs: &'static [&'static str]) {
    let _ = ONLY.set(jobs);
}

/// Whether this process only reconciles: it sends no provider a request that may move money.
pub fn reconciles_only() -> bool {
    ONLY.get().is_some()
}

/// Whether a job runs.
pub(crate) fn runs(job: &str) -> bool {
    ONLY.get()
        .is_none_or(|jobs| jobs.contains(&job) || COMMON.contains(&job))
}

/// Refuses what changes something in this mode, except for operators, who compare and correct.
pub(crate) fn refuse(caller: &Caller) -> Result<(), Status> {
    if !reconciles_only() || matches!(caller, Caller::Operator { .. }) {
        return Ok(());
    }
    Err(Refusal::new(Code::Unavailable, "RECONCILE_ONLY")
        .retry_after(LONG)
        .into_status(
            "perdiem",
            "the service only reconciles after a restore; try again later".to_owned(),
        ))
}
