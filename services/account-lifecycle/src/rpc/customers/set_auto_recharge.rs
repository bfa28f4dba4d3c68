//! `CustomerService.SetAutoRecharge`

use chassis::Call;
use proto::account::v1 as pb;
use proto::billing::v1 as billing;

use super::{answered, passed};
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SetAutoRechargeRequest>,
) -> Result<pb::SetAutoRechargeResponse, Error> {
    let passed = passed(&ctx, &call, Action::ManageMethods).await?;
    let asked = call.message.clone();
    let request = billing::SetAutoRechargeRequest {
        account_id: passed.account_id,
        request_id: passed.request_id,
        auto_recharge: asked.auto_recharge,
    };
    let done = ask!(ctx.billing, set_auto_recharge, request)?;
    let answer = pb::SetAutoRechargeResponse {
        auto_recharge: done.auto_recharge,
    };
    answered(&ctx, &call, answer).await
}
