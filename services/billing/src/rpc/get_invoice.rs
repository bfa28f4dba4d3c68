//! `BillingService.GetInvoice`

use chassis::wire;
use proto::billing::v1 as pb;
use values::InvoiceId;

use super::render_invoice;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::invoices;

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetInvoiceRequest,
) -> Result<pb::GetInvoiceResponse, Error> {
    let id: InvoiceId = wire::id("invoice_id", &request.invoice_id)?;
    let mut db = ctx.db.acquire().await?;
    let stored = invoices::get(&mut db, id.uuid())
        .await?
        .ok_or(Error::InvoiceNotFound(id))?;
    drop(db);
    let (invoice, ..) = render_invoice::issued(ctx, &stored).await?;
    Ok(pb::GetInvoiceResponse {
        invoice: Some(invoice),
    })
}
