//! `BillingService.ListRentals`

use chassis::{Page, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::rentals::{self, Rental};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListRentalsRequest,
) -> Result<pb::ListRentalsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let page = Page::read(request.page_size, &request.page_token)?;
    let before = page.after(convert::position)?;
    let mut db = ctx.db.acquire().await?;
    let root = convert::root_account(&mut db, id).await?.root_id;
    let found = rentals::list(&mut db, root, before, page.size + 1).await?;
    let (found, last) = page.cut(found);
    let token = |it: Rental| {
        let (at, id) = (it.start_at.timestamp_micros(), it.rental_id.simple());
        format!("{at}.{id}")
    };
    Ok(pb::ListRentalsResponse {
        next_page_token: last.map(token).unwrap_or_default(),
        rentals: found
            .iter()
            .map(convert::rental)
            .collect::<Result<_, _>>()?,
    })
}
