//! `CustomerService.GetInvoice`, and the lookup of an invoice for a caller.

use chassis::{Caller, wire};
use proto::account::v1 as pb;
use proto::billing::v1 as billing;
use values::InvoiceId;

use super::payer;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::GetInvoiceRequest,
) -> Result<pb::GetInvoiceResponse, Error> {
    let invoice = find(ctx, caller, (&asked.account_id, &asked.invoice_id)).await?;
    Ok(pb::GetInvoiceResponse {
        invoice: Some(invoice),
    })
}

/// An invoice of an account. Another account's invoice gets the same answer as an unknown one.
pub async fn find(
    ctx: &Ctx,
    caller: &Caller,
    (account_id, invoice_id): (&str, &str),
) -> Result<billing::Invoice, Error> {
    let account_id = payer(ctx, caller, account_id).await?;
    let id: InvoiceId = wire::id("invoice_id", invoice_id)?;
    let invoice = ctx.invoice(id).await?;
    if invoice.account_id == account_id {
        Ok(invoice)
    } else {
        Err(Error::InvoiceNotFound(id))
    }
}
