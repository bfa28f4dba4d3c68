//! `PaymentsService.RemovePaymentMethod`

use chassis::{Call, Unit, wire};
use proto::payments::v1 as pb;
use values::{AccountId, MethodId};

use super::convert;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::payer;
use crate::store::{accounts, methods, movements};

pub async fn handle(
    _: Ctx,
    call: Call<pb::RemovePaymentMethodRequest>,
    mut unit: Unit,
) -> Result<pb::RemovePaymentMethodResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let method: MethodId = wire::id("payment_method_id", &call.message.payment_method_id)?;
    let (root, method_id) = (id.uuid(), method.uuid());
    payer::entered(&mut unit.tx, id).await?;
    // The lock keeps new charges with the method from starting.
    accounts::lock(&mut unit.tx, root).await?;
    let known = methods::get(&mut unit.tx, root, method_id)
        .await?
        .ok_or(Error::PaymentMethodNotFound(method))?;
    if movements::any_open_by(&mut unit.tx, root, method_id).await? {
        return Err(Error::PaymentMethodInUse(method));
    }
    if known.removed_at.is_none() {
        methods::remove(&mut unit.tx, root, method_id, call.now).await?;
    }
    let removed = methods::get(&mut unit.tx, root, method_id)
        .await?
        .ok_or(Error::Stored("method"))?;
    Ok(unit
        .commit(pb::RemovePaymentMethodResponse {
            payment_method: Some(convert::method(&removed, call.now)),
        })
        .await?)
}
