//! `PaymentsService.GetCharge`, and the lookup of a movement of an account.

use chassis::wire;
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{AccountId, ChargeId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::movement::Kind;
use crate::error::Error;
use crate::ops::payer;
use crate::store::movements::{self, Movement};

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetChargeRequest,
) -> Result<pb::GetChargeResponse, Error> {
    let account = wire::id("account_id", &request.account_id)?;
    let id: ChargeId = wire::id("charge_id", &request.charge_id)?;
    let charge = find(ctx, account, Kind::Charge, id.uuid()).await?;
    let charge = charge.ok_or(Error::ChargeNotFound(id))?;
    Ok(pb::GetChargeResponse {
        charge: Some(convert::charge(&charge)?),
    })
}

/// The movement `id` of an account; `None` if it belongs to another account or is of another kind.
pub async fn find(
    ctx: &Ctx,
    account: AccountId,
    kind: Kind,
    id: Uuid,
) -> Result<Option<Movement>, Error> {
    let mut tx = ctx.db.begin().await?;
    let root = payer::entered(&mut tx, account).await?.root_id;
    let found = movements::get(&mut tx, root, id).await?;
    tx.commit().await?;
    Ok(found.filter(|it| it.kind == kind))
}
