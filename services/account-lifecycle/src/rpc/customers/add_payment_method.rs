//! `CustomerService.AddPaymentMethod`

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
    call: Call<pb::AddPaymentMethodRequest>,
) -> Result<pb::AddPaymentMethodResponse, Error> {
    let passed = passed(&ctx, &call, Action::ManageMethods).await?;
    let asked = call.message.clone();
    let request = payments::AddPaymentMethodRequest {
        account_id: passed.account_id,
        request_id: passed.request_id,
        method_code: asked.method_code,
        provider_code: asked.provider_code,
        provider_token: asked.provider_token,
        network_code: asked.network_code,
        bank_code: asked.bank_code,
        app_code: asked.app_code,
        country_code: asked.country_code,
        default_method: asked.default_method,
        off_session_allowed: asked.off_session_allowed,
        ..payments::AddPaymentMethodRequest::default()
    };
    let done = ask!(ctx.payments, add_payment_method, request)?;
    let answer = pb::AddPaymentMethodResponse {
        payment_method: done.payment_method,
    };
    answered(&ctx, &call, answer).await
}
