//! `AccountService.ListOrders`

use chassis::{Caller, FieldError, Page, field_error, wire};
use proto::account::v1 as pb;
use values::{AccountId, OrderId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::order::State;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;
use crate::store::orders::{self, Standings};

pub async fn handle(
    ctx: &Ctx,
    caller: &Caller,
    request: pb::ListOrdersRequest,
) -> Result<pb::ListOrdersResponse, Error> {
    // An operator need not name an account.
    let id: Option<AccountId> = match caller {
        Caller::Operator { .. } => wire::optional_id("account_id", &request.account_id)?,
        Caller::Person { .. } | Caller::Service { .. } => {
            Some(wire::id("account_id", &request.account_id)?)
        }
    };
    let state = state(request.state)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(|text| text.parse::<OrderId>().ok())?;
    let (before, limit) = (before.map(OrderId::uuid), page.size + 1);
    let now = ctx.clock.now().await?;
    let asked = Standings::of(state, now);
    let found = if let Some(id) = id {
        let account = permit::allowed(ctx, caller, id, Action::See).await?;
        let mut tx = ctx.db.begin_as(Tenant::Root(account.root_id)).await?;
        let of = (account.account_id, &asked);
        let found = orders::list(&mut tx, of, before, limit).await?;
        tx.commit().await?;
        found
    } else {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let found = orders::list_all(&mut tx, &asked, before, limit).await?;
        tx.commit().await?;
        found
    };
    let (found, last) = page.cut(found);
    Ok(pb::ListOrdersResponse {
        orders: found.iter().map(|it| convert::order(it, now)).collect(),
        next_page_token: last
            .map(|order| OrderId::from_uuid(order.order_id).to_string())
            .unwrap_or_default(),
    })
}

/// The state to list; `None` for all.
fn state(sent: i32) -> Result<Option<State>, FieldError> {
    match pb::order::State::try_from(sent) {
        Ok(pb::order::State::Unspecified) => Ok(None),
        Ok(pb::order::State::Quoted) => Ok(Some(State::Quoted)),
        Ok(pb::order::State::Confirmed) => Ok(Some(State::Confirmed)),
        Ok(pb::order::State::AwaitingPayment) => Ok(Some(State::AwaitingPayment)),
        Ok(pb::order::State::AwaitingSettlement) => Ok(Some(State::AwaitingSettlement)),
        Ok(pb::order::State::Completed) => Ok(Some(State::Completed)),
        Ok(pb::order::State::Failed) => Ok(Some(State::Failed)),
        Ok(pb::order::State::Expired) => Ok(Some(State::Expired)),
        Ok(pb::order::State::Cancelled) => Ok(Some(State::Cancelled)),
        Err(_) => Err(field_error("state", "a state of orders, or unset")),
    }
}
