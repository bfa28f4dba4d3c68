//! `BillingService.VerifyAudit`

use chassis::{verify_audit, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    request: pb::VerifyAuditRequest,
) -> Result<pb::VerifyAuditResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    convert::root_account(&mut *ctx.db.acquire().await?, id).await?;
    let found = verify_audit(ctx, id.uuid()).await?;
    Ok(pb::VerifyAuditResponse {
        valid: found.broken == 0,
        broken_sequence: found.broken,
        entry_count: found.count,
    })
}
