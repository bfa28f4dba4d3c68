//! `AccountService.CreateTicket`
//!
//! Has `plan` stamp the ticket with the plans in force, which decide channel and response target, and stores it.

use chassis::{Call, field_error, wire};
use proto::account::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::tickets::{self, Ticket};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateTicketRequest>,
) -> Result<pb::CreateTicketResponse, Error> {
    let request = &call.message;
    let id = wire::id("account_id", &request.account_id)?;
    let channel = request.channel_code.as_str();
    if !matches!(channel, "EMAIL" | "CHAT" | "PHONE") {
        return Err(field_error("channel_code", "EMAIL, CHAT or PHONE").into());
    }
    let priority = request.priority_code.as_str();
    if !matches!(priority, "P1" | "P2" | "P3") {
        return Err(field_error("priority_code", "P1, P2 or P3").into());
    }
    let subject = wire::text("subject", &request.subject, 200)?;
    let account = permit::acting(&ctx, &call, id, Action::Use).await?;

    // The stamp belongs to the ticket id, which is derived from the request, so that a retry gets the same stamp.
    let ticket_id = call.derived_id("ticket");
    let asked = (channel, priority);
    let stamp = ctx.stamp_ticket(id, ticket_id, asked).await?;
    let target = stamp.response_target.unwrap_or_default();
    let ticket = Ticket {
        root_id: account.root_id,
        account_id: account.account_id,
        ticket_id,
        channel_code: channel.to_owned(),
        priority_code: priority.to_owned(),
        subject: subject.to_owned(),
        plan_code: stamp.plan_code,
        platform_plan_code: stamp.platform_plan_code,
        response_minutes: target.minutes,
        response_always: target.always,
        created_at: call.now,
        support_priority_code: stamp.support_priority_code,
    };
    let mut unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    tickets::insert(&mut unit.tx, &ticket).await?;
    Ok(unit
        .commit(pb::CreateTicketResponse {
            ticket: Some(convert::ticket(&ticket)),
        })
        .await?)
}
