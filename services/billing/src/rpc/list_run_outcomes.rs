//! `BillingService.ListRunOutcomes`

use chassis::{Page, wire};
use proto::billing::v1 as pb;
use values::{AccountId, InvoiceId, Money, RunId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{self, outcomes, runs};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListRunOutcomesRequest,
) -> Result<pb::ListRunOutcomesResponse, Error> {
    let id: RunId = wire::id("billing_run_id", &request.billing_run_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let after = page.after(|text| text.parse::<AccountId>().ok())?;
    let mut db = ctx.db.acquire().await?;
    let run = runs::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::RunNotFound(id))?;
    let currency = store::currency(&run.currency)?;
    let found = outcomes::list(
        &mut db,
        id.uuid(),
        after.map(AccountId::uuid),
        page.size + 1,
    )
    .await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListRunOutcomesResponse {
        next_page_token: last
            .map(|it| convert::account_id(it.root_id))
            .unwrap_or_default(),
        outcomes: found
            .into_iter()
            .map(|it| pb::RunOutcome {
                account_id: convert::account_id(it.root_id),
                total: Some(wire::pb_money(Money::from_minor(it.total_minor, currency))),
                invoice_id: it
                    .invoice_id
                    .map(|id| InvoiceId::from_uuid(id).to_string())
                    .unwrap_or_default(),
            })
            .collect(),
    })
}
