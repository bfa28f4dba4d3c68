//! `PaymentsService.SetDefaultPaymentMethod`

use chassis::{Call, Unit, wire};
use proto::payments::v1 as pb;
use values::{AccountId, MethodId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::payer;
use crate::store::{accounts, methods};

pub async fn handle(
    _: Ctx,
    call: Call<pb::SetDefaultPaymentMethodRequest>,
    mut unit: Unit,
) -> Result<pb::SetDefaultPaymentMethodResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let method: MethodId = wire::id("payment_method_id", &call.message.payment_method_id)?;
    let (root, method_id) = (id.uuid(), method.uuid());
    payer::entered(&mut unit.tx, id).await?;
    accounts::lock(&mut unit.tx, root).await?;
    let known = methods::get(&mut unit.tx, root, method_id)
        .await?
        .ok_or(Error::PaymentMethodNotFound(method))?;
    if known.removed_at.is_some() || known.is_expired(call.now) {
        return Err(Error::PaymentMethodNotUsable(method));
    }
    methods::set_default(&mut unit.tx, root, Some(method_id)).await?;
    let default = methods::get(&mut unit.tx, root, method_id)
        .await?
        .ok_or(Error::Stored("method"))?;
    Ok(unit
        .commit(pb::SetDefaultPaymentMethodResponse {
            payment_method: Some(convert::method(&default, call.now)),
        })
        .await?)
}
