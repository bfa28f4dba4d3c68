//! `AccountService.VerifyAudit`

use chassis::{Caller, verify_audit, wire};
use proto::account::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::VerifyAuditRequest,
) -> Result<pb::VerifyAuditResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let found = verify_audit(ctx, account.root_id).await?;
    Ok(pb::VerifyAuditResponse {
        valid: found.broken == 0,
        broken_sequence: found.broken,
        entry_count: found.count,
    })
}
