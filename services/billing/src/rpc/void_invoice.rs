//! `BillingService.VoidInvoice`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::InvoiceId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::end_invoice::{End, end};

pub async fn handle(
    _: Ctx,
    call: Call<pb::VoidInvoiceRequest>,
    mut unit: Unit,
) -> Result<pb::VoidInvoiceResponse, Error> {
    let id: InvoiceId = wire::id("invoice_id", &call.message.invoice_id)?;
    let reason = wire::text("reason", &call.message.reason, 200)?;
    let ended = end(&mut unit, &call, id, (End::Void, reason)).await?;
    let shown = convert::whole_invoice(&mut unit.tx, &ended).await?;
    Ok(unit
        .commit(pb::VoidInvoiceResponse {
            invoice: Some(shown),
        })
        .await?)
}
