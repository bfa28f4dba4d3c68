//! `BillingService.ListInvoices`

use chassis::{Page, wire};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, RunId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::invoices::{self, Place};
use crate::store::numbers;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListInvoicesRequest,
) -> Result<pb::ListInvoicesResponse, Error> {
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let run: Option<RunId> = wire::optional_id("billing_run_id", &request.billing_run_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let after = page.after(position)?;
    let mut db = ctx.db.acquire().await?;
    let root = match account {
        Some(id) => Some(convert::root_account(&mut db, id).await?.root_id),
        None => None,
    };
    let (of, limit) = ((root, run.map(RunId::uuid)), page.size + 1);
    let found = if request.only_open {
        invoices::list_open(&mut db, of, after, limit).await?
    } else {
        invoices::list(&mut db, of, after, limit).await?
    };
    let (found, last) = page.cut(found);
    let mut series: Vec<i32> = found.iter().map(|invoice| invoice.series_id).collect();
    series.dedup();
    let series = numbers::get_all(&mut db, &series).await?;
    Ok(pb::ListInvoicesResponse {
        next_page_token: last
            .map(|it| {
                let (root, id) = (it.root_id.simple(), it.invoice_id.simple());
                format!("{}.{root}.{id}", it.period_start)
            })
            .unwrap_or_default(),
        invoices: found
            .iter()
            .map(|invoice| convert::invoice(invoice, &series))
            .collect::<Result<_, _>>()?,
    })
}

fn position(text: &str) -> Option<Place> {
    let mut parts = text.split('.');
    let (period, root, id) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    Some((
        period.parse().ok()?,
        Uuid::try_parse(root).ok()?,
        Uuid::try_parse(id).ok()?,
    ))
}
