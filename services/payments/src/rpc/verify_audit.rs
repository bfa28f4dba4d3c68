//! `PaymentsService.VerifyAudit`

use chassis::{verify_audit, wire};
use proto::payments::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::payer;

pub async fn handle(
    ctx: &Ctx,
    request: pb::VerifyAuditRequest,
) -> Result<pb::VerifyAuditResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let mut tx = ctx.db.begin().await?;
    payer::entered(&mut tx, id).await?;
    tx.commit().await?;
    let found = verify_audit(ctx, id.uuid()).await?;
    Ok(pb::VerifyAuditResponse {
        valid: found.broken == 0,
        broken_sequence: found.broken,
        entry_count: found.count,
    })
}
