//! `BillingService.CollectRenewal`

use chassis::{Call, PgConnection, Unit, wire};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, CollectionId, MethodId, Money};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::collection::{Event, Purpose, after};
use crate::domain::subscription::State;
use crate::error::Error;
use crate::ops::collect::{self, SETTLED_AMOUNT_DIFFERS, WAIT_SECONDS};
use crate::store::{closings, collections, invoices, ledger, subscriptions};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CollectRenewalRequest>,
) -> Result<pb::CollectRenewalResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let collection: CollectionId = wire::id("collection_id", &request.collection_id)?;
    let method: MethodId = wire::id("payment_method_id", &request.payment_method_id)?;
    let quoted = match request.amount {
        Some(_) => Some(wire::money("amount", request.amount.as_ref())?),
        None => None,
    };
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let root = convert::root_account(&mut unit.tx, id).await?.root_id;
    let intent = (method.uuid(), call.derived_id("collect"));
    begun(&mut unit.tx, (root, collection), intent, (quoted, &call)).await?;
    unit.commit_step().await?;
    collect::ask(&ctx, collection.uuid()).await?;
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    let known = collections::get(&mut unit.tx, collection.uuid())
        .await?
        .ok_or(Error::CollectionNotFound(collection))?;
    let shown = convert::collection(&mut unit.tx, &known).await?;
    Ok(unit
        .commit(pb::CollectRenewalResponse {
            collection: Some(shown),
        })
        .await?)
}

/// Starts another attempt of a declined renewal. A repeated request finds its own attempt.
async fn begun(
    db: &mut PgConnection,
    (root, id): (Uuid, CollectionId),
    (method, intent): (Uuid, Uuid),
    (quoted, call): (Option<Money>, &Call<pb::CollectRenewalRequest>),
) -> Result<(), Error> {
    let account = AccountId::from_uuid(root);
    ledger::lock(db, &[root]).await?;
    let known = collections::lock(db, id.uuid())
        .await?
        .filter(|it| it.root_id == root && it.purpose == Purpose::Renewal)
        .ok_or(Error::CollectionNotFound(id))?;
    if known.intent_id == intent {
        return Ok(());
    }
    if closings::stands(db, root).await? {
        return Err(Error::AccountClosed(account));
    }
    // A renewal can be paid only while its plan is past due and in force.
    let due = subscriptions::lock_of(db, id.uuid()).await?;
    let over = due.is_none_or(|it| it.state != State::PastDue);
    if over || known.failure_reason == SETTLED_AMOUNT_DIFFERS {
        return Err(Error::NothingDue(account));
    }
    // Of a cycle that is paid or credited in part, an order for its open invoice pays the rest.
    let invoice = invoices::get(db, id.uuid()).await?;
    if invoice.is_some_and(|it| it.due_minor() != known.total_minor) {
        return Err(Error::NothingDue(account));
    }
    // An order for the cycle's open invoice may be paying it, too.
    let retried = after(known.state, Event::Retried);
    if retried.is_none() || collections::paying(db, id.uuid()).await?.is_some() {
        return Err(Error::PaymentUnderWay(account));
    }
    if quoted.is_some_and(|it| it.minor() != known.total_minor) {
        return Err(Error::Requote);
    }
    let wait = (WAIT_SECONDS, call.now);
    Ok(collections::try_again(db, id.uuid(), (Some(method), intent), wait).await?)
}
