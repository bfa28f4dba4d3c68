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
    let id: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    if let Some(id) = id {
        let mut tx = ctx.db.begin().await?;
        payer::entered(&mut tx, id).await?;
        tx.commit().await?;
    }
    let found = verify_audit(ctx, id.map(AccountId::uuid).unwrap_or_default()).await?;
    Ok(pb::VerifyAuditResponse {
        valid: found.broken == 0,
        broken_sequence: found.broken,
        entry_count: found.count,
    })
}
