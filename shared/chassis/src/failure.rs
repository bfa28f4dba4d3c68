//! What a failure says about the work that met it: whether the same may succeed another time.

use std::error::Error;

use tonic::Status;

use crate::Twin;
use crate::client::{is_away, is_refusal};
use crate::database::{causes, refuses_values, retryable, timed_out, unreachable};

/// Whether another service or the database is unavailable or busy: this is no fault of the work.
pub(crate) fn is_absence(error: &(dyn Error + 'static)) -> bool {
    let away = |status: &Status| is_away(status) && !is_refusal(status);
    unreachable(error)
        || retryable(error)
        || timed_out(error)
        || causes(error).any(|cause| cause.downcast_ref().is_some_and(away))
}

/// Whether the same fails again, however often it is tried: another service refuses it, the database refuses its
/// values, or it does not fit what is stored. An internal error of another service is not permanent, as nobody knows
/// what it says about the work.
pub fn is_permanent(error: &(dyn Error + 'static)) -> bool {
    if let Some(status) = causes(error).find_map(|cause| cause.downcast_ref::<Status>()) {
        return is_refusal(status);
    }
    if let Some(error) = causes(error).find_map(|cause| cause.downcast_ref::<sqlx::Error>()) {
        return refuses_values(error);
    }
    !causes(error).any(<dyn Error>::is::<Twin>)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::*;
    use crate::{Refusal, internal};

    /// The error of a service.
    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("stored {0} does not read")]
        Stored(&'static str),
        #[error("another try was first")]
        Twin(#[from] Twin),
        #[error("another service")]
        Peer(#[from] Status),
        #[error("database")]
        Database(#[from] sqlx::Error),
    }

    #[test]
    fn only_what_fails_again_is_permanent() {
        let refusal = Refusal::new(Code::NotFound, "A_REASON");
        let told = refusal.clone().into_status("plan", String::new());
        assert!(is_permanent(&Fault::Peer(told)));
        assert!(is_permanent(&Fault::Stored("id")));
        let later = refusal.retry_after(Duration::from_secs(1));
        let passing = [
            Fault::Peer(later.into_status("plan", String::new())),
            Fault::Peer(internal()),
            Fault::Peer(Status::unavailable("away")),
            Fault::Peer(Status::not_found("by whatever stands in between")),
            Fault::Twin(Twin),
            Fault::Database(sqlx::Error::PoolTimedOut),
        ];
        for fault in passing {
            assert!(!is_permanent(&fault), "{fault:?}");
        }
    }

    #[test]
    fn what_is_away_or_busy_is_an_absence() {
        let busy = Refusal::new(Code::ResourceExhausted, "TOO_MANY_CALLS_IN_FLIGHT")
            .retry_after(Duration::from_millis(200));
        let away = [
            Fault::Peer(busy.into_status("perdiem", String::new())),
            Fault::Peer(Status::unavailable("away")),
            Fault::Twin(Twin),
            Fault::Database(sqlx::Error::PoolTimedOut),
        ];
        for fault in away {
            assert!(is_absence(&fault), "{fault:?}");
        }
        assert!(!is_absence(&Fault::Database(sqlx::Error::RowNotFound)));
        assert!(!is_absence(&Fault::Peer(internal())));
        assert!(!is_absence(&Fault::Stored("id")));
    }
}
