//! `AccountService.VerifyAudit`

use chassis::{Caller, field_error, verify_audit, wire};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::VerifyAuditRequest,
) -> Result<pb::VerifyAuditResponse, Error> {
    let id: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let root = match id {
        Some(id) => permit::sees_root(ctx, caller, id).await?.root_id,
        None => of_no_account(caller)?,
    };
    let found = verify_audit(ctx, root).await?;
    Ok(pb::VerifyAuditResponse {
        valid: found.broken == 0,
        broken_sequence: found.broken,
        entry_count: found.count,
    })
}

/// The chain of what concerns no account, which is nothing for customers.
fn of_no_account(caller: &Caller) -> Result<Uuid, Error> {
    match caller {
        Caller::Operator { .. } | Caller::Service { .. } => Ok(Uuid::nil()),
        Caller::Person { .. } => Err(field_error("account_id", "the ID of a root account").into()),
    }
}
