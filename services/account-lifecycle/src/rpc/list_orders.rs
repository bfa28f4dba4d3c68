//! `AccountService.ListOrders`

use chassis::{Caller, Page, wire};
use proto::account::v1 as pb;
use values::OrderId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::{self, Tenant, orders};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListOrdersRequest,
) -> Result<pb::ListOrdersResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<OrderId>().ok())?;
    let account = permit::allowed(ctx, caller, id, Action::See).await?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::Root(account.root_id)).await?;
    let found = orders::list(
        &mut tx,
        account.account_id,
        before.map(OrderId::uuid),
        page.size + 1,
    )
    .await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    Ok(pb::ListOrdersResponse {
        orders: found.iter().map(convert::order).collect(),
        next_page_token: last
            .map(|order| OrderId::from_uuid(order.order_id).to_string())
            .unwrap_or_default(),
    })
}
