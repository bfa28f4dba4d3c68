//! `PlanService.ListAddOns`

use chassis::wire;
use proto::plan::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{accounts, add_ons};

pub async fn handle(
    ctx: &Ctx,
    request: pb::ListAddOnsRequest,
) -> Result<pb::ListAddOnsResponse, Error> {
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let mut db = ctx.db.acquire().await?;
    let known = accounts::get(&mut db, id)
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    let found = add_ons::list(&mut db, known.root.uuid()).await?;
    Ok(pb::ListAddOnsResponse {
        add_ons: found
            .iter()
            .map(convert::add_on)
            .collect::<Result<_, _>>()?,
    })
}
