//! `BillingService.PreviewCollection`

use chassis::wire::{self, pb_money};
use proto::billing::v1 as pb;

use super::{collect_order, convert};
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::collect;

pub async fn handle(
    ctx: &Ctx,
    request: pb::PreviewCollectionRequest,
) -> Result<pb::PreviewCollectionResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let lines = collect_order::lines(&request.lines)?;
    let catalogue = ctx.active_catalogue().await?;
    let mut db = ctx.db.acquire().await?;
    let account = convert::root_account(&mut db, id).await?;
    collect_order::of_ledger(&request.lines, &account.currency)?;
    let (taxes, total) = collect::taxed(&mut db, &catalogue, &account, &lines).await?;
    Ok(pb::PreviewCollectionResponse {
        taxes: taxes
            .iter()
            .map(|tax| convert::tax_line(tax, total.currency()))
            .collect(),
        amount: Some(pb_money(total)),
    })
}
