//! `PaymentsService.EraseAccount`

use chassis::{Call, wire};
use proto::payments::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, accounts, enter, methods, movements};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::EraseAccountRequest>,
) -> Result<pb::EraseAccountResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    chassis::forget_all_answers(&ctx).await?;
    let mut unit = call.step::<Error>(&ctx.db).await?;
    let tx = &mut unit.tx;
    let root = accounts::root_of(tx, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    enter(tx, Tenant::Root(root)).await?;
    let mut erased = vec!["answers to requests".to_owned()];
    let mut kept = Vec::new();
    // A subaccount pays by its root's methods.
    if root == id.uuid() {
        accounts::lock(tx, root).await?;
        accounts::set_erased(tx, root, call.now).await?;
        chassis::forget_audit_key::<Ctx>(tx, root).await?;
        movements::erase(tx, root).await?;
        methods::erase(tx, root, call.now).await?;
        erased
            .push("payment methods: tokens, last digits, expiry, network, bank and app".to_owned());
        erased.push("the key of the audit's hashes".to_owned());
        erased.push("pages that payers were sent to and came back to".to_owned());
        kept.push("charges, refunds and disputes, by account id".to_owned());
        if methods::any_kept(tx, root).await? {
            kept.push(
                "the payment methods of refunds under way, until these have ended".to_owned(),
            );
        }
    }
    Ok(unit
        .commit(pb::EraseAccountResponse { erased, kept })
        .await?)
}
