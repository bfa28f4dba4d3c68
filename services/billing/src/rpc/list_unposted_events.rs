//! `BillingService.ListUnpostedEvents`

use chassis::{Page, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::unposted_events::{self, UnpostedEvent};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListUnpostedEventsRequest,
) -> Result<pb::ListUnpostedEventsResponse, Error> {
    let id: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let mut db = ctx.db.acquire().await?;
    let of = (id.map(AccountId::uuid), request.show_posted);
    let found = unposted_events::list(&mut db, of, before, page.size + 1).await?;
    let (found, last) = page.cut(found);
    let token = |it: UnpostedEvent| {
        let at = it.set_aside_at.timestamp_micros();
        format!("{at}.{}", it.subject_id)
    };
    Ok(pb::ListUnpostedEventsResponse {
        next_page_token: last.map(token).unwrap_or_default(),
        unposted_events: found.iter().map(shown).collect(),
    })
}

fn position(text: &str) -> Option<(DateTime<Utc>, String)> {
    let (at, subject) = text.split_once('.')?;
    let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
    // PostgreSQL text can't contain NUL.
    (!subject.contains('\0')).then(|| (at, subject.to_owned()))
}

/// Converts a quarantined event.
pub fn shown(from: &UnpostedEvent) -> pb::UnpostedEvent {
    let waits = from.posted_at.is_none();
    pb::UnpostedEvent {
        account_id: convert::account_id(from.root_id),
        subject_id: from.subject_id.clone(),
        reason: from.reason.clone(),
        create_time: Some(wire::timestamp(from.set_aside_at)),
        attempt_count: from.attempt_count,
        next_attempt_time: waits.then(|| wire::timestamp(from.try_at)),
        post_time: from.posted_at.map(wire::timestamp),
    }
}
