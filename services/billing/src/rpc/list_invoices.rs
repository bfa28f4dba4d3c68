//! `BillingService.ListInvoices`

use chassis::{Page, PgConnection, wire};
use proto::billing::v1 as pb;
use uuid::Uuid;
use values::{AccountId, RunId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::invoice::State;
use crate::domain::numbers::{counted, invoice_id};
use crate::error::Error;
use crate::store::invoices::{self, Invoice};
use crate::store::numbers;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListInvoicesRequest,
) -> Result<pb::ListInvoicesResponse, Error> {
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let run: Option<RunId> = wire::optional_id("billing_run_id", &request.billing_run_id)?;
    let number = wire::optional_text("number", &request.number, 64)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(convert::position)?;
    let mut db = ctx.db.acquire().await?;
    let root = match account {
        Some(id) => Some(convert::root_account(&mut db, id).await?.root_id),
        None => None,
    };
    let (run, limit) = (run.map(RunId::uuid), page.size + 1);
    let open = request.only_open;
    let found: Vec<Invoice> = match root {
        // One at most, so there is no next page.
        _ if !number.is_empty() => {
            let found = numbered(&mut db, number, (root, run, open)).await?;
            found.into_iter().collect()
        }
        _ if open => invoices::list_open(&mut db, (root, run), before, limit).await?,
        Some(root) => invoices::list_of(&mut db, (root, run), before, limit).await?,
        None => invoices::list(&mut db, run, before, limit).await?,
    };
    let (found, last) = page.cut(found);
    let mut series: Vec<i32> = found.iter().map(|invoice| invoice.series_id).collect();
    series.dedup();
    let series = numbers::get_all(&mut db, &series).await?;
    Ok(pb::ListInvoicesResponse {
        next_page_token: last
            .map(|it| {
                let (at, id) = (it.issued_at.timestamp_micros(), it.invoice_id.simple());
                format!("{at}.{id}")
            })
            .unwrap_or_default(),
        invoices: found
            .iter()
            .map(|invoice| convert::invoice(invoice, &series))
            .collect::<Result<_, _>>()?,
    })
}

/// The invoice with a number, if it is of this root account and run, where these are given, and open, where that is
/// asked. Its id follows from its series and its place in it.
async fn numbered(
    db: &mut PgConnection,
    number: &str,
    (root, run, open): (Option<Uuid>, Option<Uuid>, bool),
) -> Result<Option<Invoice>, Error> {
    let Some(place) = counted(number) else {
        return Ok(None);
    };
    let all = numbers::all(db).await?;
    let known = all.into_iter().find(|it| it.shown(place) == number);
    let Some(series) = known else {
        return Ok(None);
    };
    let id = invoice_id(series.series_id, place).uuid();
    let found = invoices::get(db, id).await?;
    Ok(found.filter(|it| {
        it.number == place
            && root.is_none_or(|root| it.root_id == root)
            && run.is_none_or(|run| it.run_id == Some(run))
            && (!open || it.state == State::Open)
    }))
}
