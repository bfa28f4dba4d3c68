//! `PlanService.AddAddOn`

use chassis::{Call, Unit, wire};
use proto::plan::v1 as pb;
use values::AccountId;

use super::convert;
use super::list_entitlements::held;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts;
use crate::store::add_ons::{self, AddOn};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AddAddOnRequest>,
    mut unit: Unit,
) -> Result<pb::AddAddOnResponse, Error> {
    let id: AccountId = wire::id("account_id", &call.message.account_id)?;
    let code = wire::code("add_on_code", &call.message.add_on_code)?;
    let locked = accounts::lock(&mut unit.tx, &[id]).await?;
    let (_, known) = locked.first().ok_or(Error::AccountNotFound(id))?;
    if known.root != id {
        return Err(Error::UseRootAccount {
            account: id,
            root: known.root,
        });
    }
    if known.closed_at.is_some() {
        return Err(Error::AccountClosed(id));
    }
    let now = ctx.clock.now_on(&mut unit.tx).await?;
    let active = ctx.active_catalogue(&mut unit.tx).await?;
    if !active.features.contains_key(code) {
        return Err(Error::AddOnNotFound(code.to_owned()));
    }
    // The plan in force must offer the add-on; it is refused if a plan already includes the feature.
    let mut price = None;
    for current in held(&ctx, &mut unit.tx, id, now).await? {
        let value = current.entitlements()?.get(code).cloned();
        match value.as_deref() {
            Some("INCLUDED") => return Err(Error::AddOnIncluded(code.to_owned())),
            Some("ADDON") => price = current.plan()?.add_ons.get(code).copied(),
            Some(_) | None => {}
        }
    }
    let price = price.ok_or_else(|| Error::AddOnNotOffered(code.to_owned()))?;
    let add_on = AddOn {
        add_on_code: code.to_owned(),
        start_at: now,
        end_at: None,
        currency: price.currency().code().to_owned(),
        monthly_minor: price.minor(),
    };
    let free = if call.message.validate_only {
        !add_ons::any_at(&mut unit.tx, (id.uuid(), code), now).await?
    } else {
        add_ons::insert(&mut unit.tx, id.uuid(), &add_on).await?
    };
    if !free {
        return Err(Error::AddOnExists(code.to_owned()));
    }
    Ok(unit
        .commit(pb::AddAddOnResponse {
            add_on: Some(convert::add_on(&add_on)?),
        })
        .await?)
}
