//! `BillingService.RetryUnpostedEvent`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use super::list_unposted_events::shown;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::post_event;
use crate::store::unposted_events;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RetryUnpostedEventRequest>,
) -> Result<pb::RetryUnpostedEventResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let subject = wire::code("subject_id", &call.message.subject_id)?;
    let not_found = || Error::UnpostedEventNotFound(subject.to_owned());
    let mut db = ctx.db.acquire().await?;
    let event = unposted_events::get(&mut db, id.uuid(), subject)
        .await?
        .ok_or_else(not_found)?;
    drop(db);
    if event.posted_at.is_none() {
        post_event::again(&ctx, &event).await.map_err(|error| {
            if !chassis::is_permanent(&error) {
                return error;
            }
            Error::StillUnposted {
                subject: subject.to_owned(),
                detail: chassis::Chain(&error).to_string(),
            }
        })?;
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let event = unposted_events::get(&mut unit.tx, id.uuid(), subject)
        .await?
        .ok_or_else(not_found)?;
    Ok(unit
        .commit(pb::RetryUnpostedEventResponse {
            unposted_event: Some(shown(&event)),
        })
        .await?)
}
