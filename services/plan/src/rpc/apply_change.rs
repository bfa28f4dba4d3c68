//! `PlanService.ApplyChange`, and the writing of a decided change.

use chassis::{
    Call, Caller, NotOpen, PgConnection, ServiceName, Standing, Unit, field_error, wire,
};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use values::{AccountId, ContractOfferId, OrderId};

use super::convert;
use super::get_current_plan::with_terms;
use super::preview_change::{Asked, Decided, Paid, decide, read};
use crate::access::BUYING;
use crate::ctx::Ctx;
use crate::domain::timeline::{self, Segment};
use crate::error::Error;
use crate::store::{accounts, segments};

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
    let order: Option<OrderId> = wire::optional_id("order_id", &request.order_id)?;
    if request.paid {
        may_say_paid(&call.caller, order)?;
    }
    // A quote is valid as long as nothing has changed; the lock keeps it so until the commit.
    let (_, now) = ctx.hold_timelines(&mut unit.tx, &[asked.account]).await?;
    if let Caller::Operator { .. } = call.caller {
        not_barred(&mut unit.tx, asked.account).await?;
    }
    let decided = decide(&ctx, &mut unit.tx, &asked, now).await?;
    let unchanged = decided.etag(now)? == request.timeline_etag
        && decided.catalogue.version == request.catalogue_version;
    if !unchanged && !request.paid {
        return Err(Error::Requote);
    }
    if !request.paid && !asked.by_operator && decided.needs_payment(now)? {
        return Err(Error::PaymentRequired(asked.account));
    }
    // A paid order is put in force once, whatever the request id.
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

/// That a change has been paid for is said by the service whose order `billing` has collected for, and of that order. An
/// operator who could say so would give a plan away.
fn may_say_paid(caller: &Caller, order: Option<OrderId>) -> Result<(), Error> {
    let name = ServiceName::AccountLifecycle;
    if *caller != (Caller::Service { name }) {
        return Err(Error::PaidNotAllowed);
    }
    match order {
        Some(_) => Ok(()),
        None => Err(field_error("order_id", "the order that was paid").into()),
    }
}

/// That an account is in no standing in which nothing is bought. `account-lifecycle` asks so before an order begins, and what
/// an order has paid for goes forward; an operator who comes here directly buys no more than by an order (C-11).
async fn not_barred(db: &mut PgConnection, account: AccountId) -> Result<(), Error> {
    let standings = accounts::standings(db, account).await?;
    let barred = standings.iter().filter_map(|it| Standing::of_text(it));
    match barred.filter(|it| BUYING.contains(it)).min() {
        Some(standing) => Err(NotOpen { account, standing }.into()),
        None => Ok(()),
    }
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
