//! `CustomerService.PreviewInvoice`

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
    asked: pb::PreviewInvoiceRequest,
) -> Result<pb::PreviewInvoiceResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::PreviewInvoiceRequest {
        account_id,
        family_code: asked.family_code,
        month: asked.month,
        ..billing::PreviewInvoiceRequest::default()
    };
    let found = ask!(ctx.billing, preview_invoice, request)?;
    Ok(pb::PreviewInvoiceResponse {
        invoice: found.invoice,
    })
}
