//! `PaymentsService.ListRefunds`

use chassis::{Page, wire};
use proto::payments::v1 as pb;
use values::ChargeId;

use super::convert;
use super::list_charges::list;
use crate::ctx::Ctx;
use crate::domain::movement::Kind;
use crate::error::Error;
use crate::store::movements::Filter;

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListRefundsRequest,
) -> Result<pb::ListRefundsResponse, Error> {
    let account = wire::optional_id("account_id", &request.account_id)?;
    let charge: Option<ChargeId> = wire::optional_id("charge_id", &request.charge_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let today = ctx.clock.now().await?.date_naive();
    let filter = Filter {
        subject: charge.map(ChargeId::uuid),
        state: convert::state_filter(request.state)?,
        overdue_on: request.overdue.then_some(today),
        overturned: request.overturned,
        from: wire::optional_instant("start_time", request.start_time)?,
        until: wire::optional_instant("end_time", request.end_time)?,
        ..Filter::of(Kind::Refund, page.size)
    };
    let (found, next_page_token) = list(ctx, account, filter, &page).await?;
    let shown = found.iter().map(|it| convert::refund(it, today));
    Ok(pb::ListRefundsResponse {
        refunds: shown.collect::<Result<_, _>>()?,
        next_page_token,
    })
}
