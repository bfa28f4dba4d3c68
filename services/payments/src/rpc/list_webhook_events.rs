//! `PaymentsService.ListWebhookEvents`

use chassis::{Page, field_error, wire};
use chrono::{DateTime, Utc};
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{ChargeId, RefundId, WebhookId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::webhook::Reason;
use crate::error::Error;
use crate::store::Tenant;
use crate::store::webhooks::{self, Event, Filter};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListWebhookEventsRequest,
) -> Result<pb::ListWebhookEventsResponse, Error> {
    let provider = wire::optional_code("provider_code", &request.provider_code)?;
    let state = convert::webhook_filter(request.state)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let filter = Filter {
        provider_code: provider.unwrap_or_default(),
        state,
        movement_id: subject(&request.subject_id)?,
    };
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let found = webhooks::list(&mut tx, &filter, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: Event| {
        let (at, id) = (
            it.received_at.timestamp_micros(),
            it.webhook_event_id.simple(),
        );
        format!("{at}.{id}")
    };
    Ok(pb::ListWebhookEventsResponse {
        next_page_token: last.map(token).unwrap_or_default(),
        webhook_events: found.iter().map(shown).collect(),
    })
}

fn subject(text: &str) -> Result<Option<Uuid>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let charge: Option<ChargeId> = text.parse().ok();
    let refund: Option<RefundId> = text.parse().ok();
    let id = charge
        .map(ChargeId::uuid)
        .or(refund.map(RefundId::uuid))
        .ok_or_else(|| field_error("subject_id", "CH or RF and 32 hex digits"))?;
    Ok(Some(id))
}

fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((
        DateTime::from_timestamp_micros(at.parse().ok()?)?,
        Uuid::try_parse(id).ok()?,
    ))
}

/// An event in its wire form.
pub fn shown(from: &Event) -> pb::WebhookEvent {
    pb::WebhookEvent {
        webhook_event_id: WebhookId::from_uuid(from.webhook_event_id).to_string(),
        provider_code: from.provider_code.clone(),
        provider_event_id: from.provider_event_id.clone(),
        event_type: from.event_type.clone(),
        state: convert::webhook_state(from.state).into(),
        subject_id: match from.movement_id {
            // The event type shows whether the movement is a refund.
            Some(id) if from.event_type.contains("refund") => RefundId::from_uuid(id).to_string(),
            Some(id) => ChargeId::from_uuid(id).to_string(),
            None => String::new(),
        },
        delivery_count: from.delivery_count,
        attempt_count: from.attempt_count,
        failure_reason: from.failure_reason.map_or("", Reason::as_str).to_owned(),
        receive_time: Some(wire::timestamp(from.received_at)),
        process_time: from.processed_at.map(wire::timestamp),
    }
}
