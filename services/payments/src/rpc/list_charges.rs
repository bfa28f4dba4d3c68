//! `PaymentsService.ListCharges`, and the listing of movements.

use chassis::{Page, wire};
use proto::payments::v1 as pb;
use values::{AccountId, InvoiceId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::movement::Kind;
use crate::error::Error;
use crate::ops::payer;
use crate::store::movements::{self, Filter, Movement};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListChargesRequest,
) -> Result<pb::ListChargesResponse, Error> {
    let account = wire::optional_id("account_id", &request.account_id)?;
    let invoice: Option<InvoiceId> = wire::optional_id("invoice_id", &request.invoice_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let filter = Filter {
        subject: invoice.map(InvoiceId::uuid),
        state: convert::state_filter(request.state)?,
        overturned: request.overturned,
        from: wire::optional_instant("start_time", request.start_time)?,
        until: wire::optional_instant("end_time", request.end_time)?,
        ..Filter::of(Kind::Charge, page.size)
    };
    let (found, next_page_token) = list(ctx, account, filter, &page).await?;
    Ok(pb::ListChargesResponse {
        charges: found
            .iter()
            .map(convert::charge)
            .collect::<Result<_, _>>()?,
        next_page_token,
    })
}

/// One page of the movements of an account, or of all accounts, and the token of the next page.
pub async fn list(
    ctx: &Ctx,
    account: Option<AccountId>,
    filter: Filter,
    page: &Page,
) -> Result<(Vec<Movement>, String), Error> {
    let before = page.after(convert::position)?;
    let mut tx = ctx.db.begin().await?;
    let root = payer::entered_or_all(&mut tx, account).await?;
    let filter = Filter {
        root,
        before,
        limit: page.size + 1,
        ..filter
    };
    let found = movements::list(&mut tx, &filter).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = last.map(|it| convert::token(it.created_at, it.movement_id));
    Ok((found, token.unwrap_or_default()))
}
