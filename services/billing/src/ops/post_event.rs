//! Posts the events of `payments`: changes of charges, refunds and disputes.
//!
//! An event that contradicts stored data is quarantined so that later events are not blocked. It is logged as an
//! error, listed by `ListUnpostedEvents`, and retried by a job and by operators with the state that `payments`
//! reports then.

use chassis::PgConnection;
use chrono::{DateTime, Utc};
use opentelemetry::global;
use proto::payments::v1::watch_movements_response::Movement;
use uuid::Uuid;
use values::{AccountId, ChargeId, RefundId};

use super::{collect, contest, give_back};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::unposted_events::{self, UnpostedEvent};
use crate::store::watch_positions;

/// Name of the followed stream in `billing.watch_positions`.
pub const SOURCE: &str = "payments.movements";

/// What to record in the posting transaction.
#[derive(Debug, Clone, Copy)]
pub enum Note<'a> {
    /// The stream was followed from the first resume token to the second.
    Followed(&'a str, &'a str),
    /// A quarantined event is posted.
    Posted(&'a UnpostedEvent),
    /// Nothing; the state came from a call and not from the stream.
    Asked,
}

/// Posts one change. A change that is posted already is not posted again.
pub async fn book(ctx: &Ctx, movement: Option<&Movement>, note: Note<'_>) -> Result<(), Error> {
    let catalogue = match movement {
        Some(Movement::Charge(charge)) => collect::catalogue_of(ctx, charge).await?,
        Some(Movement::Dispute(_)) => Some(ctx.active_catalogue().await?),
        Some(Movement::Refund(_)) | None => None,
    };
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    match movement {
        Some(Movement::Charge(charge)) => {
            if let Some(catalogue) = catalogue {
                collect::keep(&mut tx, &catalogue, charge, now).await?;
            }
        }
        Some(Movement::Refund(refund)) => give_back::keep(&mut tx, refund, now).await?,
        Some(Movement::Dispute(dispute)) => {
            if let Some(catalogue) = catalogue {
                contest::keep(&mut tx, &catalogue, dispute, now).await?;
            }
        }
        None => {}
    }
    keep(&mut tx, note, now).await?;
    tx.commit().await?;
    Ok(())
}

async fn keep(db: &mut PgConnection, note: Note<'_>, now: DateTime<Utc>) -> Result<(), Error> {
    match note {
        Note::Followed(from, to) => {
            if watch_positions::advance(db, SOURCE, (from, to)).await? {
                Ok(())
            } else {
                // Another replica has advanced the position; the transaction is rolled back.
                Err(Error::Twin(chassis::Twin))
            }
        }
        Note::Posted(event) => {
            let of = (event.root_id, event.subject_id.as_str());
            Ok(unposted_events::post(db, of, now).await?)
        }
        Note::Asked => Ok(()),
    }
}

/// Quarantines an event that can't be posted.
pub async fn set_aside(
    ctx: &Ctx,
    movement: Option<&Movement>,
    (note, error): (Note<'_>, &Error),
) -> Result<(), Error> {
    let (account, subject) = match movement {
        Some(Movement::Charge(charge)) => (charge.account_id.as_str(), charge.charge_id.as_str()),
        Some(Movement::Refund(refund)) => (refund.account_id.as_str(), refund.refund_id.as_str()),
        Some(Movement::Dispute(it)) => (it.account_id.as_str(), it.dispute_id.as_str()),
        None => ("", ""),
    };
    let reason = chassis::Chain(error).to_string();
    tracing::error!(
        account.id = account,
        movement.id = subject,
        reason,
        "a payment event can't be posted and is quarantined; fix its cause and retry it"
    );
    global::meter("perdiem")
        .u64_counter("events.unposted")
        .with_description("Payment events that could not be posted.")
        .build()
        .add(1, &[]);
    let root = account
        .parse::<AccountId>()
        .map_or(Uuid::nil(), AccountId::uuid);
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    unposted_events::insert(&mut tx, (root, subject), &reason, now).await?;
    keep(&mut tx, note, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Retries a quarantined event: posts its subject in the state that `payments` reports now. If that fails again, the
/// reason is stored with it and logged.
pub async fn again(ctx: &Ctx, event: &UnpostedEvent) -> Result<(), Error> {
    let posted = post(ctx, event).await;
    if let Err(error) = &posted
        && chassis::is_permanent(error)
    {
        let reason = chassis::Chain(error).to_string();
        tracing::error!(
            account.id = %AccountId::from_uuid(event.root_id),
            movement.id = event.subject_id,
            reason,
            "a quarantined payment event still can't be posted"
        );
        let of = (event.root_id, event.subject_id.as_str());
        unposted_events::set_reason(&mut ctx.db.acquire().await?, of, &reason).await?;
    }
    posted
}

async fn post(ctx: &Ctx, event: &UnpostedEvent) -> Result<(), Error> {
    let (root, subject) = (
        AccountId::from_uuid(event.root_id),
        event.subject_id.as_str(),
    );
    let movement = if let Ok(id) = subject.parse::<ChargeId>() {
        Movement::Charge(ctx.charge(root, id).await?)
    } else if let Ok(id) = subject.parse::<RefundId>() {
        Movement::Refund(ctx.refund(root, id).await?)
    } else {
        let dispute = ctx.dispute(root, subject).await?;
        Movement::Dispute(dispute.ok_or(Error::Stored("dispute of payments"))?)
    };
    book(ctx, Some(&movement), Note::Posted(event)).await?;
    ctx.wake.notify_waiters();
    Ok(())
}
