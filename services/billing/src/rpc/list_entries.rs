//! `BillingService.ListEntries`

use chassis::{Page, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use uuid::Uuid;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::ledger;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListEntriesRequest,
) -> Result<pb::ListEntriesResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let mut db = ctx.db.acquire().await?;
    let root = convert::root_account(&mut db, id).await?.root_id;
    let found = ledger::list(&mut db, root, before, page.size + 1).await?;
    let (found, last) = page.cut(found);
    let token = |it: ledger::StoredEntry| {
        format!(
            "{}.{}",
            it.posted_at.timestamp_micros(),
            it.entry_id.simple()
        )
    };
    Ok(pb::ListEntriesResponse {
        next_page_token: last.map(token).unwrap_or_default(),
        entries: found.iter().map(convert::entry).collect::<Result<_, _>>()?,
    })
}

fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((
        DateTime::from_timestamp_micros(at.parse().ok()?)?,
        Uuid::try_parse(id).ok()?,
    ))
}
