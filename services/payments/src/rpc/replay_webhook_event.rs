//! `PaymentsService.ReplayWebhookEvent`

use chassis::{Call, Unit, wire};
use proto::payments::v1 as pb;
use values::WebhookId;

use super::list_webhook_events::shown;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::process_webhook::process;
use crate::store::webhooks;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReplayWebhookEventRequest>,
) -> Result<pb::ReplayWebhookEventResponse, Error> {
    let id: WebhookId = wire::id("webhook_event_id", &call.message.webhook_event_id)?;
    let not_found = || Error::WebhookEventNotFound(id);
    let mut db = ctx.db.acquire().await?;
    let event = webhooks::get(&mut db, id.uuid())
        .await?
        .ok_or_else(not_found)?;
    drop(db);
    process(&ctx, &event).await?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let event = webhooks::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or_else(not_found)?;
    Ok(unit
        .commit(pb::ReplayWebhookEventResponse {
            webhook_event: Some(shown(&event)),
        })
        .await?)
}
