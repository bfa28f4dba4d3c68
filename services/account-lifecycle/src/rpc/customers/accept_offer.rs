//! `CustomerService.AcceptOffer`

use chassis::Call;
use proto::account::v1 as pb;
use proto::plan::v1 as plan;

use super::{answered, passed};
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AcceptOfferRequest>,
) -> Result<pb::AcceptOfferResponse, Error> {
    let passed = passed(&ctx, &call, Action::ChangePlan).await?;
    let asked = call.message.clone();
    let request = plan::AcceptContractOfferRequest {
        account_id: passed.account_id,
        request_id: passed.request_id,
        offer_id: asked.offer_id,
    };
    let done = ask!(ctx.plan, accept_contract_offer, request)?;
    let answer = pb::AcceptOfferResponse {
        offer: done.contract_offer,
    };
    answered(&ctx, &call, answer).await
}
