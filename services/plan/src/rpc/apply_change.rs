//! `PlanService.ApplyChange`, and writing a change that was decided.

use chassis::{Call, Unit, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use sqlx::PgConnection;
use values::{ContractOfferId, OrderId};

use super::convert;
use super::get_current_plan::with_terms;
use super::preview_change::{Asked, Decided, Paid, decide, read};
use crate::ctx::Ctx;
use crate::domain::timeline::{self, Segment};
use crate::error::Error;
use crate::store::segments;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::ApplyChangeRequest>,
    mut unit: Unit,
) -> Result<pb::ApplyChangeResponse, Error> {
    let request = &call.message;
    let asked = read(
        &request.account_id,
        &request.family_code,
        &request.plan_code,
        &request.billing_cycle_code,
        request.actor,
    )?;
    let asked = Asked {
        paid: if request.paid {
            Some(Paid {
                version: &request.catalogue_version,
                offer: wire::optional_id("offer_id", &request.offer_id)?,
            })
        } else {
            None
        },
        ..asked
    };
    let order = wire::optional_id("order_id", &request.order_id)?;
    // What was quoted holds as long as nothing has changed; the lock keeps it so until the commit.
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[asked.account]).await?;
    let decided = decide(&ctx, &mut unit.tx, &asked, now).await?;
    let unchanged = decided.etag(now)? == request.timeline_etag
        && decided.catalogue.version == request.catalogue_version;
    if !unchanged && !request.paid {
        return Err(Error::Requote);
    }
    if !request.paid && !asked.by_operator && decided.needs_payment(now)? {
        return Err(Error::PaymentRequired(asked.account));
    }
    // What an order has paid for is put in force once, by whichever request.
    let mut made = decided.timeline.iter();
    let made = made.find(|it| request.paid && order.is_some() && it.order == order);
    let segment = match made {
        Some(made) => made.clone(),
        None => put(&mut unit.tx, &decided, order, now).await?,
    };
    let shown = with_terms(&ctx, &mut unit.tx, asked.account, (asked.family, segment)).await?;
    let segment = convert::segment(&shown)?;
    Ok(unit
        .commit(pb::ApplyChangeResponse {
            segment: Some(segment),
        })
        .await?)
}

/// Puts a change in force that was decided under the lock of its account.
pub async fn put(
    db: &mut PgConnection,
    decided: &Decided,
    order: Option<OrderId>,
    now: DateTime<Utc>,
) -> Result<Segment, Error> {
    let plan = decided.plan()?;
    let next = Segment {
        start_at: decided.effective_at,
        end_at: None,
        plan_code: plan.code.clone(),
        catalogue_version: decided.catalogue.version.clone(),
        payer: decided.root,
        contract: None,
        cycle: decided.cycle.clone(),
        order,
        offer: decided
            .offer
            .as_ref()
            .map(|offer| ContractOfferId::from_uuid(offer.offer_id)),
    };
    let edit = timeline::changed(&decided.timeline, next, now)?;
    segments::edit(db, decided.root, &plan.family, &edit).await?;
    Ok(edit.insert)
}
