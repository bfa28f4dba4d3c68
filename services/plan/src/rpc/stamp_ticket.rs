//! `PlanService.StampTicket`

use chassis::{Call, Unit, field_error, wire};
use proto::plan::v1 as pb;
use values::TicketId;

use super::list_entitlements::held;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::ticket_stamps::{self, Stamp};

/// The entitlement that says which channels a plan without support terms opens.
const CHANNELS: &str = "support_channels";
/// The entitlement that says how tickets are handled under such a plan.
const PRIORITY: &str = "support_priority";

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::StampTicketRequest>,
    mut unit: Unit,
) -> Result<pb::StampTicketResponse, Error> {
    let request = &call.message;
    let account = wire::id("account_id", &request.account_id)?;
    let ticket: TicketId = wire::id("ticket_id", &request.ticket_id)?;
    let priority = request.priority_code.as_str();
    if !matches!(priority, "P1" | "P2" | "P3") {
        return Err(field_error("priority_code", "P1, P2 or P3").into());
    }

    // A plan with response targets is a support plan; one with the entitlement a platform plan. An
    // account that has both joins their channels and is answered as the support plan says (C-31).
    let held = held(&ctx, &mut unit.tx, account, call.now).await?;
    let (mut support, mut platform, mut target, mut channels) = (None, None, None, Vec::new());
    let mut handled = None;
    for current in &held {
        let plan = current.plan()?;
        if plan.responses.is_empty() {
            platform = Some(plan.code.clone());
            let own = current.entitlements()?;
            handled = own.get(PRIORITY).cloned();
            let own = own.get(CHANNELS).into_iter();
            channels.extend(own.flat_map(|all| all.split(',').map(str::to_owned)));
        } else {
            support = Some((plan.code.clone(), current.catalogue.version.clone()));
            target = plan
                .responses
                .iter()
                .find(|response| response.priority == priority)
                .cloned();
            channels.extend(plan.channels.clone());
        }
    }
    channels.sort();
    channels.dedup();
    let root = held.first().map_or(account, |current| current.root);
    let version = held
        .first()
        .map(|current| current.catalogue.version.clone())
        .unwrap_or_default();
    let (plan_code, catalogue_version) = support.unwrap_or((String::new(), version));
    let stamp = Stamp {
        root_id: root.uuid(),
        account_id: account.uuid(),
        priority_code: priority.to_owned(),
        plan_code,
        catalogue_version,
        platform_plan_code: platform.unwrap_or_default(),
        support_priority_code: handled.unwrap_or_default(),
        stamped_at: call.now,
    };
    let kept = ticket_stamps::insert(&mut unit.tx, ticket, &stamp).await?;
    let stamp = pb::TicketStamp {
        ticket_id: ticket.to_string(),
        plan_code: kept.plan_code,
        platform_plan_code: kept.platform_plan_code,
        response_target: target.map(|it| pb::ResponseTarget {
            priority_code: it.priority,
            minutes: it.minutes,
            always: it.always,
        }),
        stamp_time: Some(wire::timestamp(kept.stamped_at)),
        channels,
        support_priority_code: kept.support_priority_code,
    };
    Ok(unit
        .commit(pb::StampTicketResponse {
            ticket_stamp: Some(stamp),
        })
        .await?)
}
