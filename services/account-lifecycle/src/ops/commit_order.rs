//! Carrying out a committed order.

use chrono::{DateTime, Utc};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::error::Error;
use crate::store::orders::{self, Order};
use crate::store::{self, Tenant};

/// Applies the change of a committed order and ends it; safe to repeat.
///
/// What was quoted and does not hold any more ends as EXPIRED, what `plan` refuses as FAILED. When
/// `plan` is away the order stays as it is, and the error says so.
pub async fn finish(ctx: &Ctx, order: &Order, now: DateTime<Utc>) -> Result<(), Error> {
    let (state, effective_at, reason, refusal) = match ctx.apply_change(order).await {
        Ok(segment) => {
            let at = segment
                .start_time
                .and_then(|at| DateTime::from_timestamp(at.seconds, u32::try_from(at.nanos).ok()?));
            (State::Completed, at, String::new(), None)
        }
        Err(status) => match (status.code(), reason(&status)) {
            (Code::Aborted, reason) if reason == "REQUOTE" => {
                (State::Expired, None, reason, Some(status))
            }
            (
                Code::FailedPrecondition
                | Code::NotFound
                | Code::AlreadyExists
                | Code::InvalidArgument,
                reason,
            ) => (State::Failed, None, reason, Some(status)),
            _ => return Err(Error::Peer(status)),
        },
    };
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(order.root_id)).await?;
    orders::end(&mut tx, order.order_id, state, effective_at, (&reason, now)).await?;
    tx.commit().await?;
    refusal.map_or(Ok(()), |status| Err(Error::Peer(status)))
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}
