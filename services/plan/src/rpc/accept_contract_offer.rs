//! `PlanService.AcceptContractOffer`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;
use values::{AccountId, ContractOfferId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::contract_offers::{self, Offer};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AcceptContractOfferRequest>,
    mut unit: Unit,
) -> Result<pb::AcceptContractOfferResponse, Error> {
    let id: ContractOfferId = wire::id("offer_id", &call.message.offer_id)?;
    let account: AccountId = wire::id("account_id", &call.message.account_id)?;
    let offer = contract_offers::lock(&mut unit.tx, id)
        .await?
        .filter(|offer| offer.root_id == account.uuid())
        .ok_or(Error::ContractOfferNotFound(id))?;
    if offer.accepted_at.is_none() && offer.expires_at <= call.now {
        return Err(Error::OfferExpired(id));
    }
    contract_offers::accept(&mut unit.tx, id, call.now).await?;
    let offer = Offer {
        accepted_at: offer.accepted_at.or(Some(call.now)),
        ..offer
    };
    let catalogue = ctx.active_catalogue(&mut unit.tx).await?;
    let shown = convert::offer(&offer, &catalogue, call.now)?;
    Ok(unit
        .commit(pb::AcceptContractOfferResponse {
            contract_offer: Some(shown),
        })
        .await?)
}
