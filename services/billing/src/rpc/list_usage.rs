//! `BillingService.ListUsage`

use chassis::{Page, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, Amount};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store;
use crate::store::usage::Stored;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListUsageRequest,
) -> Result<pb::ListUsageResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let month = wire::month("month", &request.month)?;
    let category = wire::optional_code("category", &request.category)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let after = page.after(position)?;
    let mut db = ctx.db.acquire().await?;
    let account = store::accounts::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    // A root account lists all its accounts; a subaccount lists itself.
    let own = (account.root_id != account.account_id).then_some(account.account_id);
    let limits = (after, page.size + 1);
    let found = store::usage::list(
        &mut db,
        (account.root_id, month.start()),
        own,
        category,
        limits,
    )
    .await?;
    let (found, last) = page.cut(found);
    let currency = store::currency(&account.currency)?;
    Ok(pb::ListUsageResponse {
        next_page_token: last.map(|it| token(&it)).unwrap_or_default(),
        records: found
            .into_iter()
            .map(|it| pb::UsageRecord {
                source: it.source,
                revision: it.revision,
                supersede_time: it.superseded_at.map(wire::timestamp),
                billing_month: if it.unbilled {
                    String::new()
                } else {
                    convert::month(it.billing_month)
                },
                unbilled: it.unbilled,
                receive_time: Some(wire::timestamp(it.received_at)),
                event: Some(pb::UsageEvent {
                    event_id: it.event_id,
                    account_id: convert::account_id(it.account_id),
                    category: it.category,
                    usage_time: Some(wire::timestamp(it.used_at)),
                    quantity: convert::quantity(it.quantity_micros),
                    price: Some(wire::pb_amount(Amount::from_micros(
                        it.price_micros,
                        currency,
                    ))),
                    message_text: None,
                }),
            })
            .collect(),
    })
}

fn token(last: &Stored) -> String {
    format!(
        "{}.{}.{}",
        last.used_at.timestamp_micros(),
        last.event_key.simple(),
        last.revision
    )
}

fn position(text: &str) -> Option<(DateTime<Utc>, Uuid, i32)> {
    let mut parts = text.split('.');
    let at = DateTime::from_timestamp_micros(parts.next()?.parse().ok()?)?;
    Some((
        at,
        Uuid::try_parse(parts.next()?).ok()?,
        parts.next()?.parse().ok()?,
    ))
}
