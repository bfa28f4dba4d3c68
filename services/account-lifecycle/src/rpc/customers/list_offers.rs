//! `CustomerService.ListOffers`

use chassis::Caller;
use proto::account::v1 as pb;
use proto::plan::v1 as plan;

use super::payer;
use crate::clients::ask;
use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    asked: pb::ListOffersRequest,
) -> Result<pb::ListOffersResponse, Error> {
    let account_id = payer(ctx, caller, &asked.account_id).await?;
    let request = plan::ListContractOffersRequest {
        account_id,
        page_size: asked.page_size,
        page_token: asked.page_token,
    };
    let found = ask!(ctx.plan, list_contract_offers, request)?;
    Ok(pb::ListOffersResponse {
        offers: found.contract_offers,
        next_page_token: found.next_page_token,
    })
}
