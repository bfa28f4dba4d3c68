//! `AccountService.CreateResource`

use chassis::{Call, Unit, field_error, wire};
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
use crate::store::resources::{self, Resource};
use crate::store::{accounts, closings};

/// How long a document may be, in bytes.
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
    let account = permit::allowed(&ctx, &call.caller, id, Action::Use).await?;
    let capability = match kind_code {
        "PHONE_NUMBER" => Some(Capability::BuyProductionNumber),
        "TRIAL_NUMBER" => Some(Capability::BuyTrialNumber),
        _ => None,
    };
    let mut quota = None;
    if let Some(capability) = capability {
        let asked = Asked {
            capability,
            target: None,
            at: None,
        };
        let said = answer(&ctx, &account, &asked, call.now).await?;
        if let Some(denial) = said.denial {
            return Err(Error::Denied(id, denial));
        }
        quota = said.value.parse::<i64>().ok();
    }
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
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    // Counted under the lock: two at once don't both get the last one.
    accounts::lock(&mut unit.tx, account.root_id).await?;
    if closings::get(&mut unit.tx, account.root_id)
        .await?
        .is_some()
    {
        return Err(Error::AccountClosed(id));
    }
    if let Some(quota) = quota {
        let kinds = number_kinds(account.r#type == "TRIAL");
        let of = (account.root_id, &kinds[..]);
        if quota <= resources::count(&mut unit.tx, of, call.now).await? {
            return Err(Error::Denied(id, Denial::OverQuota));
        }
    }
    if !resources::insert(&mut unit.tx, &resource).await? {
        return Err(Error::ResourceExists);
    }
    Ok(unit
        .commit(pb::CreateResourceResponse {
            resource: Some(convert::resource(&resource, None)),
        })
        .await?)
}
