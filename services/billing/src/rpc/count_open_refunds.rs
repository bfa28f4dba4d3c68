//! `BillingService.CountOpenRefunds`

use chassis::wire;
use proto::billing::v1 as pb;
use values::{AccountId, RefundId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::closings::{self, Closing};
use crate::store::refunds;

pub async fn handle(
    ctx: &Ctx,
    request: pb::CountOpenRefundsRequest,
) -> Result<pb::CountOpenRefundsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let mut db = ctx.db.acquire().await?;
    let root = convert::root_account(&mut db, id).await?.root_id;
    let open = refunds::open_of(&mut db, root).await?.len();
    let closing = closings::get(&mut db, root).await?;
    let of_closing = match closing.filter(Closing::is_settled) {
        Some(closing) => refunds::of_intent(&mut db, closing.intent_id).await?,
        None => Vec::new(),
    };
    let ids = of_closing.iter().filter_map(|it| it.payments_refund_id);
    Ok(pb::CountOpenRefundsResponse {
        open_count: i32::try_from(open).unwrap_or(i32::MAX),
        closing_refund_ids: ids.map(|id| RefundId::from_uuid(id).to_string()).collect(),
    })
}
