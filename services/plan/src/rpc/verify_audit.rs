//! `PlanService.VerifyAudit`

use chassis::{verify_audit, wire};
use proto::plan::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts;

pub async fn handle(
    ctx: &Ctx,
    request: pb::VerifyAuditRequest,
) -> Result<pb::VerifyAuditResponse, Error> {
    let id: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    if let Some(id) = id {
        let known = accounts::get(&mut ctx.db.acquire().await?, id)
            .await?
            .ok_or(Error::AccountNotFound(id))?;
        if known.root != id {
            return Err(Error::UseRootAccount {
                account: id,
                root: known.root,
            });
        }
    }
    let found = verify_audit(ctx, id.map(AccountId::uuid).unwrap_or_default()).await?;
    Ok(pb::VerifyAuditResponse {
        valid: found.broken == 0,
        broken_sequence: found.broken,
        entry_count: found.count,
    })
}
