//! `PaymentsService.ListParkedWork`

use chassis::parked_work;
use proto::payments::v1 as pb;

use crate::ctx::Ctx;
use crate::error::Error;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListParkedWorkRequest,
) -> Result<pb::ListParkedWorkResponse, Error> {
    let page = (request.page_size, request.page_token.as_str());
    let (parked_work, next_page_token) =
        parked_work::<Ctx, Error>(ctx, &request.job_name, page).await?;
    Ok(pb::ListParkedWorkResponse {
        parked_work,
        next_page_token,
    })
}
