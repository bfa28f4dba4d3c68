//! `CustomerService.RenderInvoice`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use super::get_invoice::find;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::RenderInvoiceRequest,
) -> Result<pb::RenderInvoiceResponse, Error> {
    let invoice = find(ctx, caller, (&asked.account_id, &asked.invoice_id)).await?;
    let request = billing::RenderInvoiceRequest {
        invoice_id: invoice.invoice_id,
        credit_note_id: asked.credit_note_id,
    };
    let found = ask!(ctx.billing, render_invoice, request)?;
    Ok(pb::RenderInvoiceResponse { pdf: found.pdf })
}
