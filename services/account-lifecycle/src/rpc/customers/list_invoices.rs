//! `CustomerService.ListInvoices`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use super::payer;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::ListInvoicesRequest,
) -> Result<pb::ListInvoicesResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::ListInvoicesRequest {
        account_id,
        only_open: asked.only_open,
        page_size: asked.page_size,
        page_token: asked.page_token,
        ..billing::ListInvoicesRequest::default()
    };
    let found = ask!(ctx.billing, list_invoices, request)?;
    Ok(pb::ListInvoicesResponse {
        invoices: found.invoices,
        next_page_token: found.next_page_token,
    })
}
