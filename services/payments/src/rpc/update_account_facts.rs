//! `PaymentsService.UpdateAccountFacts`

use chassis::{Call, Unit, field_error, wire};
use proto::payments::v1 as pb;
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{Tenant, accounts, enter};

pub async fn handle(
    _: Ctx,
    call: Call<pb::UpdateAccountFactsRequest>,
    mut unit: Unit,
) -> Result<pb::UpdateAccountFactsResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let country = convert::country("country_code", &call.message.country_code)?;
    if country.is_empty() {
        return Err(field_error("country_code", "two upper-case letters, ISO 3166-1").into());
    }
    let root = accounts::root_of(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    enter(&mut unit.tx, Tenant::Root(root)).await?;
    accounts::set_country(&mut unit.tx, id.uuid(), country).await?;
    Ok(unit.commit(pb::UpdateAccountFactsResponse {}).await?)
}
