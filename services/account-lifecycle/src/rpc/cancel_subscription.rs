//! `AccountService.CancelSubscription`

use chassis::{Call, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{limit, permit};
use values::{AccountId, CollectionId};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CancelSubscriptionRequest>,
) -> Result<pb::CancelSubscriptionResponse, Error> {
    let id = wire::id("account_id", &call.message.account_id)?;
    let family = wire::code("family_code", &call.message.family_code)?;
    let account = permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    // An unpaid cycle is not continued: the plan ends now.
    let unpaid = unpaid(&ctx, id, family).await?;
    let cancelled = ctx
        .cancel_subscription(id, family, call.derived_id("cancel"))
        .await?;
    // The present timeline is read, since a replayed response may be outdated.
    let segments = ctx
        .segments(AccountId::from_uuid(account.root_id), family)
        .await?;
    let mut unit = permit::step(&ctx, &call, &account).await?;
    limit::follow(&mut unit.tx, account.root_id, &segments, call.now).await?;
    // Billing may have ended the subscription before the cancellation was recorded here.
    limit::cancelled(&mut unit.tx, account.root_id).await?;
    let end_time = if unpaid {
        Some(wire::timestamp(call.now))
    } else {
        cancelled.end_time
    };
    Ok(unit
        .commit(pb::CancelSubscriptionResponse { end_time })
        .await?)
}

/// Whether the present cycle is unpaid and no payment for it is in progress.
async fn unpaid(ctx: &Ctx, id: AccountId, family: &str) -> Result<bool, Error> {
    let known = ctx.subscription(id, family).await?;
    let Some(due) = known.filter(|it| it.state() == billing::subscription::State::PastDue) else {
        return Ok(false);
    };
    let Ok(collection) = due.collection_id.parse::<CollectionId>() else {
        return Ok(false);
    };
    let collection = ctx.collection(collection).await?;
    let declined = collection.state() == billing::collection::State::Declined;
    Ok(declined && due.next_attempt_time.is_some())
}
