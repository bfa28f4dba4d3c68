//! `PlanService.ListContractOffers`

use chassis::{Page, wire};
use chrono::{DateTime, Utc};
use proto::plan::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, contract_offers};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListContractOffersRequest,
) -> Result<pb::ListContractOffersResponse, Error> {
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    if let Some(account) = account {
        let known = accounts::get(&mut db, account)
            .await?
            .ok_or(Error::AccountNotFound(account))?;
        if known.root != account {
            return Err(Error::UseRootAccount {
                account,
                root: known.root,
            });
        }
    }
    let found = contract_offers::list(&mut db, account, before, page.size + 1).await?;
    let (found, last) = page.cut(found);
    let catalogue = ctx.active_catalogue(&mut db).await?;
    let shown = found
        .iter()
        .map(|it| convert::offer(it, &catalogue, now))
        .collect::<Result<_, _>>()?;
    Ok(pb::ListContractOffersResponse {
        contract_offers: shown,
        next_page_token: last
            .map(|it| {
                let (at, id) = (it.created_at.timestamp_micros(), it.offer_id.simple());
                format!("{at}.{id}")
            })
            .unwrap_or_default(),
    })
}

/// The place in the list that a page token holds: a creation time and an id.
fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    let at = DateTime::from_timestamp_micros(at.parse().ok()?)?;
    Some((at, Uuid::try_parse(id).ok()?))
}
