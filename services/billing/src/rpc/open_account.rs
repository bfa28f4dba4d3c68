//! `BillingService.OpenAccount`

use std::sync::Arc;

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::bill_usage;
use crate::store::accounts::{self, Account};
use crate::store::ledger;

pub async fn handle(
    _: Ctx,
    call: Call<pb::OpenAccountRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::OpenAccountResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let parent: Option<AccountId> =
        wire::optional_id("parent_account_id", &request.parent_account_id)?;
    let profile_code = wire::code("profile_code", &request.profile_code)?;
    let created_at = wire::instant("create_time", request.create_time)?;
    let invoiced = match pb::BillingMode::try_from(request.billing_mode) {
        Ok(pb::BillingMode::Unspecified | pb::BillingMode::Prepaid) => false,
        Ok(pb::BillingMode::Invoiced) => true,
        Err(_) => {
            return Err(field_error(
                "billing_mode",
                "BILLING_MODE_PREPAID or BILLING_MODE_INVOICED",
            )
            .into());
        }
    };
    let profile = catalogue
        .profiles
        .get(profile_code)
        .ok_or_else(|| Error::ProfileNotFound(profile_code.to_owned()))?;

    let root_id = match parent {
        None => id.uuid(),
        Some(parent) => {
            let parent = accounts::get(&mut unit.tx, parent.uuid())
                .await?
                .ok_or(Error::AccountNotFound(parent))?;
            if parent.profile_code != profile_code {
                let expected = format!("the profile of its parent, {}", parent.profile_code);
                return Err(field_error("profile_code", expected).into());
            }
            parent.root_id
        }
    };
    let account = Account {
        account_id: id.uuid(),
        root_id,
        profile_code: profile_code.to_owned(),
        time_zone: profile.zone.name().to_owned(),
        currency: profile.currency.code().to_owned(),
        invoiced,
        created_at,
    };
    if !accounts::insert(&mut unit.tx, &account).await?
        && accounts::get(&mut unit.tx, id.uuid()).await? != Some(account.clone())
    {
        return Err(Error::AccountExists(id));
    }
    if parent.is_none() {
        ledger::open(&mut unit.tx, id.uuid(), &account.currency).await?;
        bill_usage::begin(&mut unit.tx, &catalogue, &account, call.now).await?;
    }
    Ok(unit.commit(pb::OpenAccountResponse {}).await?)
}
