//! `AccountService.CreateResource`

use chassis::{Call, Unit, field_error, wire};
use chrono::{DateTime, Utc};
use proto::account::v1 as pb;
use sha2::{Digest as _, Sha256};
use values::AccountId;

use super::convert;
use crate::ctx::Ctx;
use crate::domain::capability::{Capability, Denial};
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::authorize::{Asked, answer, number_kinds};
use crate::ops::permit;
use crate::store::accounts::Account;
use crate::store::resources::{self, Resource};
use crate::store::{closings, recordings};

/// Maximum size of a resource's content, in bytes.
const DOCUMENT_MAX: usize = 65_536;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateResourceRequest>,
) -> Result<pb::CreateResourceResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let kind_code = wire::code("kind_code", &request.kind_code)?;
    let sid = wire::text("sid", &request.sid, 64)?;
    let display_name = wire::optional_text("display_name", &request.display_name, 200)?;
    let document = request.document.as_str();
    if DOCUMENT_MAX < document.len() || document.contains('\0') {
        return Err(field_error("document", "0 to 65,536 bytes without NUL").into());
    }
    let account = permit::acting(&ctx, &call, id, action(kind_code)).await?;
    let quota = quota(&ctx, &account, kind_code, call.now).await?;
    let resource = Resource {
        root_id: account.root_id,
        account_id: account.account_id,
        resource_id: call.derived_id("resource"),
        kind_code: kind_code.to_owned(),
        sid: sid.to_owned(),
        display_name: display_name.to_owned(),
        document: document.to_owned(),
        digest: Sha256::digest(document).to_vec(),
        created_at: call.now,
        released_at: None,
        rented: false,
    };
    let limit = ctx.profile_of(&account).await?.max_resources;
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    // Counted under the lock, so that two concurrent requests can't both use the last place.
    permit::lock(&mut unit, &account).await?;
    if closings::get(&mut unit.tx, account.root_id)
        .await?
        .is_some()
    {
        return Err(Error::AccountClosed(id));
    }
    if let Some(quota) = quota {
        let kinds = number_kinds();
        let of = (account.root_id, &kinds[..]);
        if quota <= resources::count(&mut unit.tx, of, call.now).await? {
            return Err(Error::Denied(id, Denial::OverQuota));
        }
    }
    if limit <= resources::count_held(&mut unit.tx, account.account_id).await? {
        return Err(Error::TooManyResources { account: id, limit });
    }
    if !resources::insert(&mut unit.tx, &resource).await? {
        return Err(Error::ResourceExists);
    }
    recordings::made(&mut unit.tx, &resource).await?;
    Ok(unit
        .commit(pb::CreateResourceResponse {
            resource: Some(convert::resource(&resource, None)),
        })
        .await?)
}

/// The account's quota of numbers of a kind; `None` for a kind that is not counted.
async fn quota(
    ctx: &Ctx,
    account: &Account,
    kind_code: &str,
    now: DateTime<Utc>,
) -> Result<Option<i64>, Error> {
    let capability = match kind_code {
        "PHONE_NUMBER" => Capability::BuyProductionNumber,
        "TRIAL_NUMBER" => Capability::BuyTrialNumber,
        _ => return Ok(None),
    };
    let asked = Asked {
        capability,
        target: None,
        at: None,
    };
    let said = answer(ctx, account, &asked, now).await?;
    match said.denial {
        Some(denial) => Err(Error::Denied(
            AccountId::from_uuid(account.account_id),
            denial,
        )),
        None => Ok(said.value.parse().ok()),
    }
}

/// The permission required to record or release a resource of a kind. A production number costs a rental, so it
/// requires the permission to buy one.
pub fn action(kind_code: &str) -> Action {
    if kind_code == "PHONE_NUMBER" {
        Action::BuyCredits
    } else {
        Action::Use
    }
}
