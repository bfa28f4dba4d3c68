//! `BillingService.EndRental`

use chassis::{Call, Unit, wire};
use proto::billing::v1 as pb;
use values::{AccountId, RentalId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::{ledger, rentals};

pub async fn handle(
    _: Ctx,
    call: Call<pb::EndRentalRequest>,
    mut unit: Unit,
) -> Result<pb::EndRentalResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let rental: RentalId = wire::id("rental_id", &call.message.rental_id)?;
    let root = convert::root_account(&mut unit.tx, id).await?.root_id;
    ledger::lock(&mut unit.tx, &[root]).await?;
    rentals::end(&mut unit.tx, (root, Some(rental.uuid())), call.now).await?;
    let known = rentals::lock(&mut unit.tx, rental.uuid()).await?;
    let known = known
        .filter(|it| it.root_id == root)
        .ok_or(Error::RentalNotFound(rental))?;
    Ok(unit
        .commit(pb::EndRentalResponse {
            rental: Some(convert::rental(&known)?),
        })
        .await?)
}
