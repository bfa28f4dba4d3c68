//! `AccountService.ListAuditEntries`

use chassis::wire::{self, timestamp};
use chassis::{AuditEntry, Caller, Page, audit_entries, hex};
use proto::account::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListAuditEntriesRequest,
) -> Result<pb::ListAuditEntriesResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let method = Some(wire::optional_text("method", &request.method, 64)?);
    let method = method.filter(|it| !it.is_empty());
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<i64>().ok())?;
    let account = permit::sees_root(ctx, caller, id).await?;
    let root = account.root_id;
    let mut tx = ctx.db.begin_as(Tenant::Root(root)).await?;
    let found = audit_entries::<Ctx>(&mut tx, (root, method), (before, page.size + 1)).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListAuditEntriesResponse {
        audit_entries: found.into_iter().map(entry).collect(),
        next_page_token: last.map(|it| it.sequence.to_string()).unwrap_or_default(),
    })
}

fn entry(from: AuditEntry) -> pb::AuditEntry {
    pb::AuditEntry {
        sequence: from.sequence,
        account_id: AccountId::from_uuid(from.root_id).to_string(),
        actor: from.actor,
        on_behalf_of: from.on_behalf_of,
        method: from.method,
        request_id: from.request_id.to_string(),
        request_hash: hex(&from.request_hash),
        before_hash: hex(&from.before_hash),
        after_hash: hex(&from.after_hash),
        previous_hash: hex(&from.previous_hash),
        entry_hash: hex(&from.entry_hash),
        create_time: Some(timestamp(from.created_at)),
    }
}
