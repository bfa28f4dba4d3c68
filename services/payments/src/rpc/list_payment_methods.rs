//! `PaymentsService.ListPaymentMethods`

use chassis::{Page, wire};
use proto::payments::v1 as pb;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::payer;
use crate::store::methods;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListPaymentMethodsRequest,
) -> Result<pb::ListPaymentMethodsResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(convert::position)?;
    let now = ctx.clock.now().await?;
    let mut tx = ctx.db.begin().await?;
    payer::entered(&mut tx, id).await?;
    let found = methods::list(&mut tx, id.uuid(), before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let usable = |it: &&methods::Method| it.removed_at.is_none() && !it.is_expired(now);
    Ok(pb::ListPaymentMethodsResponse {
        payment_methods: found
            .iter()
            .filter(|it| request.include_unusable || usable(it))
            .map(|it| convert::method(it, now))
            .collect(),
        next_page_token: last
            .map(|it| convert::token(it.created_at, it.method_id))
            .unwrap_or_default(),
    })
}
