//! `PaymentsService.ListDisputes`

use chassis::{Page, wire};
use chrono::{DateTime, Utc};
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{AccountId, ChargeId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::payer;
use crate::store::disputes::{self, Dispute, Filter};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListDisputesRequest,
) -> Result<pb::ListDisputesResponse, Error> {
    let account: Option<AccountId> = wire::optional_id("account_id", &request.account_id)?;
    let charge: Option<ChargeId> = wire::optional_id("charge_id", &request.charge_id)?;
    let state = convert::dispute_filter(request.state)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(position)?;
    let mut tx = ctx.db.begin().await?;
    let filter = Filter {
        root: payer::entered_or_all(&mut tx, account).await?,
        charge: charge.map(ChargeId::uuid),
        state,
    };
    let found = disputes::list(&mut tx, &filter, before, page.size + 1).await?;
    tx.commit().await?;
    let (found, last) = page.cut(found);
    let token = |it: Dispute| {
        let (at, id) = (it.created_at.timestamp_micros(), it.dispute_id.simple());
        format!("{at}.{id}")
    };
    Ok(pb::ListDisputesResponse {
        next_page_token: last.map(token).unwrap_or_default(),
        disputes: found
            .iter()
            .map(convert::dispute)
            .collect::<Result<_, _>>()?,
    })
}

fn position(text: &str) -> Option<(DateTime<Utc>, Uuid)> {
    let (at, id) = text.split_once('.')?;
    Some((
        DateTime::from_timestamp_micros(at.parse().ok()?)?,
        Uuid::try_parse(id).ok()?,
    ))
}
