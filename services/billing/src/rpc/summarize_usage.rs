//! `BillingService.SummarizeUsage`

use chassis::wire;
use proto::billing::v1 as pb;
use values::Amount;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store;
use crate::store::usage::{self, StoredSum};

pub async fn handle(
    ctx: &Ctx,
    request: pb::SummarizeUsageRequest,
) -> Result<pb::SummarizeUsageResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let month = wire::month("month", &request.month)?.start();
    let mut db = ctx.db.acquire().await?;
    let account = convert::root_account(&mut db, id).await?;
    let currency = store::currency(&account.currency)?;
    let sums = if request.daily {
        usage::list_days(&mut db, account.root_id, month).await?
    } else {
        usage::list_months(&mut db, account.root_id, month).await?
    };
    let of = (account.root_id, month);
    let unbilled = usage::list_unbilled(&mut db, of, request.daily).await?;
    let shown = |sum: StoredSum| pb::UsageSum {
        date: sum.on_date.to_string(),
        category: sum.category,
        quantity: convert::quantity(sum.quantity_micros),
        price: Some(wire::pb_amount(Amount::from_micros(
            sum.price_micros,
            currency,
        ))),
        event_count: sum.event_count,
    };
    Ok(pb::SummarizeUsageResponse {
        sums: sums.into_iter().map(shown).collect(),
        unbilled_sums: unbilled.into_iter().map(shown).collect(),
    })
}
