//! `CustomerService.ListCreditNotes`

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
    asked: pb::ListCreditNotesRequest,
) -> Result<pb::ListCreditNotesResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = billing::ListCreditNotesRequest {
        account_id,
        page_size: asked.page_size,
        page_token: asked.page_token,
    };
    let found = ask!(ctx.billing, list_credit_notes, request)?;
    Ok(pb::ListCreditNotesResponse {
        credit_notes: found.credit_notes,
        next_page_token: found.next_page_token,
    })
}
