//! `CustomerService.ListEligibleMethods`

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
    asked: pb::ListEligibleMethodsRequest,
) -> Result<pb::ListEligibleMethodsResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = payments::ListEligibleMethodsRequest {
        account_id,
        plan_code: asked.plan_code,
        billing_cycle_code: asked.billing_cycle_code,
        purpose: asked.purpose,
        unattended: asked.off_session,
        ..payments::ListEligibleMethodsRequest::default()
    };
    let found = ask!(ctx.payments, list_eligible_methods, request)?;
    Ok(pb::ListEligibleMethodsResponse {
        eligible_methods: found.eligible_methods,
    })
}
