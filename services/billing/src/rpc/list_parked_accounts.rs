//! `BillingService.ListParkedAccounts`

use chassis::{Page, wire};
use proto::billing::v1 as pb;
use values::{AccountId, RunId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{parked, runs};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListParkedAccountsRequest,
) -> Result<pb::ListParkedAccountsResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &request.billing_run_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let after = page.after(|text| text.parse::<AccountId>().ok())?;
    let mut db = ctx.db.acquire().await?;
    runs::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let found = parked::list(
        &mut db,
        id.uuid(),
        request.show_released,
        after.map(AccountId::uuid),
        page.size + 1,
    )
    .await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListParkedAccountsResponse {
        next_page_token: last
            .map(|it| convert::account_id(it.root_id))
            .unwrap_or_default(),
        parked_accounts: found
            .into_iter()
            .map(|it| pb::ParkedAccount {
                account_id: convert::account_id(it.root_id),
                reason: it.reason,
                detail: it.detail,
                park_time: Some(wire::timestamp(it.parked_at)),
                release_time: it.released_at.map(wire::timestamp),
            })
            .collect(),
    })
}
