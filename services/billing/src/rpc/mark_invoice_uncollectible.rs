//! `BillingService.MarkInvoiceUncollectible`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::InvoiceId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::end_invoice::{End, end};

pub async fn handle(
    _: Ctx,
    call: Call<pb::MarkInvoiceUncollectibleRequest>,
    mut unit: Unit,
) -> Result<pb::MarkInvoiceUncollectibleResponse, Error> {
    let id: InvoiceId = wire::id("invoice_id", &call.message.invoice_id)?;
    let ended = end(&mut unit, &call, id, (End::Uncollectible, "")).await?;
    let shown = convert::whole_invoice(&mut unit.tx, &ended).await?;
    Ok(unit
        .commit(pb::MarkInvoiceUncollectibleResponse {
            invoice: Some(shown),
        })
        .await?)
}
