//! `BillingService.GetSubscription`

use chassis::wire;
use proto::billing::v1 as pb;
use values::{CollectionId, MethodId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::subscription::State;
use crate::error::Error;
use crate::store::{collections, subscriptions};

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetSubscriptionRequest,
) -> Result<pb::GetSubscriptionResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let family = wire::code("family_code", &request.family_code)?;
    let mut db = ctx.db.acquire().await?;
    let account = convert::root_account(&mut db, id).await?;
    let it = subscriptions::get(&mut db, account.root_id, family)
        .await?
        .ok_or(Error::SubscriptionNotFound(id))?;
    let failure_reason = match it.collection_id {
        Some(collection) => collections::get(&mut db, collection)
            .await?
            .map(|collection| collection.failure_reason)
            .unwrap_or_default(),
        None => String::new(),
    };
    let paid_by = collections::paid_by(&mut db, (account.root_id, family)).await?;
    let state = match it.state {
        State::Active => pb::subscription::State::Active,
        State::PastDue | State::Ending => pb::subscription::State::PastDue,
    };
    Ok(pb::GetSubscriptionResponse {
        subscription: Some(pb::Subscription {
            account_id: convert::account_id(it.root_id),
            family_code: it.family_code,
            state: state.into(),
            cycle_start_time: Some(wire::timestamp(it.cycle_start_at)),
            next_attempt_time: it.due_at.map(wire::timestamp),
            retry_count: it.retries,
            failure_reason,
            collection_id: it
                .collection_id
                .map(|id| CollectionId::from_uuid(id).to_string())
                .unwrap_or_default(),
            payment_method_id: paid_by
                .map(|id| MethodId::from_uuid(id).to_string())
                .unwrap_or_default(),
        }),
    })
}
