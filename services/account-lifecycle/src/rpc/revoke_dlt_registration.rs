//! `AccountService.RevokeDltRegistration`

use chassis::{Call, Unit, wire};
use proto::account::v1 as pb;
use values::{AccountId, RegistrationId};

use super::convert;
use super::create_dlt_registration::told;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::permit;
use crate::store::Tenant;
use crate::store::dlt_registrations::{self, Registration};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::RevokeDltRegistrationRequest>,
) -> Result<pb::RevokeDltRegistrationResponse, Error> {
    let id: RegistrationId = wire::id("dlt_registration_id", &call.message.dlt_registration_id)?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let known = dlt_registrations::get(&mut tx, id.uuid()).await?;
    let of = known.as_ref().map(|it| (it.root_id, it.root_id));
    let may = permit::knows(&mut tx, &call.caller, of).await?;
    tx.commit().await?;
    let known = known.filter(|_| may);
    let known = known.ok_or(Error::DltRegistrationNotFound(id))?;
    let root = AccountId::from_uuid(known.root_id);
    let account = match permit::acting(&ctx, &call, root, Action::ChangePlan).await {
        Err(Error::AccountNotFound(_)) => return Err(Error::DltRegistrationNotFound(id)),
        other => other?,
    };
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    let known = dlt_registrations::get(&mut unit.tx, id.uuid())
        .await?
        .ok_or(Error::Stored("registration"))?;
    let registration = Registration {
        revoked_at: known.revoked_at.or(Some(call.now)),
        ..known.clone()
    };
    if known.revoked_at.is_none() {
        dlt_registrations::revoke(&mut unit.tx, id.uuid(), call.now).await?;
        let actor = call.caller.to_string();
        told(&mut unit, &registration, ("REVOKED", &actor), call.now).await?;
    }
    Ok(unit
        .commit(pb::RevokeDltRegistrationResponse {
            dlt_registration: Some(convert::dlt_registration(&registration)),
        })
        .await?)
}
