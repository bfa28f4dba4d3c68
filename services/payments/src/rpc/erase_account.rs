//! `PaymentsService.EraseAccount`
//!
//! Erases payment methods and URLs. Charges, refunds and disputes are kept as accounting records; methods that a refund
//! in progress needs are erased once it has ended.

use chassis::{Call, Standing, wire};
use proto::payments::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::personal::PLACES;
use crate::store::{Tenant, accounts, enter, methods};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::EraseAccountRequest>,
) -> Result<pb::EraseAccountResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    chassis::forget_all_answers(&ctx).await?;
    let mut unit = call.step::<Error>(&ctx.db).await?;
    let tx = &mut unit.tx;
    chassis::hold_account::<Ctx>(tx, id.uuid()).await?;
    let root = accounts::root_of(tx, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    enter(tx, Tenant::Root(root)).await?;
    // Marked as ended in the same transaction, so that no later call can store anything for the account.
    for ended in [Standing::Closed, Standing::Erased] {
        chassis::end_account::<Ctx>(tx, id.uuid(), ended).await?;
    }
    let mut erased = vec!["stored responses to requests".to_owned()];
    let mut kept = Vec::new();
    // A subaccount has no payment methods of its own.
    if root == id.uuid() {
        accounts::lock(tx, root).await?;
        accounts::set_erased(tx, root, call.now).await?;
        methods::erase(tx, root, call.now).await?;
        erased
            .push("payment methods: tokens, last digits, expiry, network, bank and app".to_owned());
        erased.push("the key of the audit's hashes".to_owned());
        erased.push("confirmation and return pages".to_owned());
        kept.push("charges, refunds and disputes, by account id".to_owned());
        if methods::any_kept(tx, root).await? {
            kept.push(
                "the payment methods of refunds in progress, until these have ended".to_owned(),
            );
        }
    }
    chassis::erase_places::<Ctx>(tx, PLACES, (root, &[id.uuid()])).await?;
    Ok(unit
        .commit(pb::EraseAccountResponse { erased, kept })
        .await?)
}
