//! `CustomerService.RemovePaymentMethod`

use chassis::Call;
use proto::account::v1 as pb;
use proto::payments::v1 as payments;

use super::{answered, passed};
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RemovePaymentMethodRequest>,
) -> Result<pb::RemovePaymentMethodResponse, Error> {
    let passed = passed(&ctx, &call, Action::ManageMethods).await?;
    let asked = call.message.clone();
    let request = payments::RemovePaymentMethodRequest {
        account_id: passed.account_id,
        request_id: passed.request_id,
        payment_method_id: asked.payment_method_id,
    };
    let done = ask!(ctx.payments, remove_payment_method, request)?;
    let answer = pb::RemovePaymentMethodResponse {
        payment_method: done.payment_method,
    };
    answered(&ctx, &call, answer).await
}
