//! `CustomerService.ListPaymentMethods`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::payments::v1 as payments;

use super::payer;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::ListPaymentMethodsRequest,
) -> Result<pb::ListPaymentMethodsResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = payments::ListPaymentMethodsRequest {
        account_id,
        include_unusable: asked.include_unusable,
        page_size: asked.page_size,
        page_token: asked.page_token,
    };
    let found = ask!(ctx.payments, list_payment_methods, request)?;
    Ok(pb::ListPaymentMethodsResponse {
        payment_methods: found.payment_methods,
        next_page_token: found.next_page_token,
    })
}
