//! `PlanService.StampTicket`
//!
//! Records the plans in force for a ticket, once; they decide its channels, response target and support priority.

use std::collections::BTreeMap;

use chassis::{Call, PgConnection, Unit, field_error, wire};
use proto::plan::v1 as pb;
use values::{AccountId, TicketId};

use super::list_entitlements::held;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts;
use crate::store::ticket_stamps::{self, Stamp};

/// Entitlement with the support channels of a platform plan.
const CHANNELS: &str = "support_channels";
/// Entitlement with the support priority of a platform plan.
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

    // A plan with response targets is a support plan; one without is a platform plan. An account with both gets the
    // channels of both and the response targets of the support plan (C-31).
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
    if platform.is_none() {
        // An account without a paid plan is treated like a trial (C-22).
        let least = least(&ctx, &mut unit.tx, account).await?;
        handled = least.get(PRIORITY).cloned();
        let own = least.get(CHANNELS).into_iter();
        channels.extend(own.flat_map(|all| all.split(',').map(str::to_owned)));
    }
    channels.sort();
    channels.dedup();
    let channel = wire::optional_code("channel_code", &request.channel_code)?;
    if let Some(channel) = channel
        && !channels.iter().any(|open| open == channel)
    {
        return Err(Error::ChannelNotInPlan(channel.to_owned()));
    }
    let first = held.first();
    let root = first.map_or(account, |current| current.root);
    let version = first.map(|current| current.catalogue.version.clone());
    let version = version.unwrap_or_default();
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
    let target = target.map(|it| pb::ResponseTarget {
        priority_code: it.priority,
        minutes: it.minutes,
        always: it.always,
    });
    Ok(unit
        .commit(pb::StampTicketResponse {
            ticket_stamp: Some(shown(ticket, kept, target, channels)),
        })
        .await?)
}

/// A stamp in its wire form.
fn shown(
    ticket: TicketId,
    kept: Stamp,
    response_target: Option<pb::ResponseTarget>,
    channels: Vec<String>,
) -> pb::TicketStamp {
    pb::TicketStamp {
        ticket_id: ticket.to_string(),
        plan_code: kept.plan_code,
        platform_plan_code: kept.platform_plan_code,
        response_target,
        stamp_time: Some(wire::timestamp(kept.stamped_at)),
        channels,
        support_priority_code: kept.support_priority_code,
    }
}

/// The entitlements of the default plans in the families paid in advance, which are those of a trial; empty if the
/// profile has no such family.
async fn least(
    ctx: &Ctx,
    db: &mut PgConnection,
    account: AccountId,
) -> Result<BTreeMap<String, String>, Error> {
    let known = accounts::get(db, account)
        .await?
        .ok_or(Error::AccountNotFound(account))?;
    let catalogue = ctx.active_catalogue(db).await?;
    let profile = catalogue.profiles.get(&known.profile_code);
    let profile = profile.ok_or_else(|| Error::ProfileNotFound(known.profile_code.clone()))?;
    let mut least = BTreeMap::new();
    for code in &profile.families {
        let family = catalogue.families.get(code).filter(|it| !it.in_arrears);
        let plan = family.and_then(|family| catalogue.plan(code, &family.default_plan));
        if let Some(plan) = plan {
            least.extend(plan.entitlements.clone());
        }
    }
    Ok(least)
}
