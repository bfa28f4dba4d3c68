//! `BillingService.GetInvoice`

use chassis::wire;
use proto::billing::v1 as pb;
use values::InvoiceId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::invoices;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetInvoiceRequest,
) -> Result<pb::GetInvoiceResponse, Error> {
    let id: InvoiceId = wire::id("invoice_id", &request.invoice_id)?;
    let mut db = ctx.db.acquire().await?;
    let invoice = invoices::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))?;
    Ok(pb::GetInvoiceResponse {
        invoice: Some(convert::whole_invoice(&mut db, &invoice).await?),
    })
}
