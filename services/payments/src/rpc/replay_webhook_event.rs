//! `PaymentsService.ReplayWebhookEvent`
//!
//! Processes a stored webhook event again: what it concerns is looked up. What the event said then does not matter, so
//! that an old event undoes nothing, and a final state never changes.

use chassis::{Call, Unit, wire};
use proto::payments::v1 as pb;
use values::WebhookId;

use super::list_webhook_events::shown;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::process_webhook::{Effect, process_anew};
use crate::store::{self, Tenant, webhooks};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ReplayWebhookEventRequest>,
) -> Result<pb::ReplayWebhookEventResponse, Error> {
    use pb::replay_webhook_event_response::Outcome;
    let id: WebhookId = wire::id("webhook_event_id", &call.message.webhook_event_id)?;
    let not_found = || Error::WebhookEventNotFound(id);
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let event = webhooks::get(&mut tx, id.uuid())
        .await?
        .ok_or_else(not_found)?;
    tx.commit().await?;
    let outcome = match process_anew(&ctx, &event).await? {
        Effect::Changed => Outcome::Changed,
        Effect::Unchanged => Outcome::Unchanged,
        Effect::Ignored => Outcome::Ignored,
        Effect::Unavailable => Outcome::Unavailable,
    };
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    store::enter(&mut unit.tx, Tenant::All).await?;
    let event = webhooks::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or_else(not_found)?;
    Ok(unit
        .commit(pb::ReplayWebhookEventResponse {
            webhook_event: Some(shown(&event)),
            outcome: outcome.into(),
        })
        .await?)
}
