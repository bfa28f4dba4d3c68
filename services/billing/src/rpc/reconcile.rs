//! `BillingService.Reconcile`

use chassis::wire;
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::ledger;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ReconcileRequest,
) -> Result<pb::ReconcileResponse, Error> {
    let id: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let mut db = ctx.db.acquire().await?;
    let root = match id {
        Some(id) => Some(convert::root_account(&mut db, id).await?.root_id),
        None => None,
    };
    let (differences, account_count) = ledger::differences(&mut db, root).await?;
    Ok(pb::ReconcileResponse {
        differences,
        account_count,
    })
}
