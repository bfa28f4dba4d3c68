//! `BillingService.OpenAccount`

use std::sync::Arc;

use chassis::{Call, PgConnection, Unit, field_error, wire};
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

    let (root_id, time_zone) = match parent {
        None => (id.uuid(), catalogue.usage_zone(profile).name().to_owned()),
        Some(parent) => {
            let root = root_of(&mut unit.tx, parent).await?;
            if root.profile_code != profile_code {
                let expected = format!("the profile of its parent, {}", root.profile_code);
                return Err(field_error("profile_code", expected).into());
            }
            // All accounts of a root keep one time zone, even if the catalogue has changed.
            (root.account_id, root.time_zone)
        }
    };
    let account = Account {
        account_id: id.uuid(),
        root_id,
        profile_code: profile_code.to_owned(),
        time_zone,
        currency: profile.currency.code().to_owned(),
        invoiced,
        created_at,
    };
    if !accounts::insert(&mut unit.tx, &account).await? {
        let known = accounts::get(&mut unit.tx, id.uuid()).await?;
        // The time zone is fixed when the account is opened, so a repeated request is compared without it.
        let same = known.map(|it| Account {
            time_zone: account.time_zone.clone(),
            ..it
        });
        if same.as_ref() != Some(&account) {
            return Err(Error::AccountExists(id));
        }
    }
    // If the root was closed while the subaccount was being opened, the subaccount is closed too.
    if parent.is_some()
        && let Some(closed_at) = accounts::hold_closed_at(&mut unit.tx, root_id).await?
    {
        accounts::close(&mut unit.tx, (root_id, id.uuid()), closed_at).await?;
    }
    if parent.is_none() {
        ledger::open(&mut unit.tx, id.uuid(), &account.currency).await?;
        bill_usage::begin(&mut unit.tx, &catalogue, &account, call.now).await?;
    }
    Ok(unit.commit(pb::OpenAccountResponse {}).await?)
}

/// The root account of a parent. A subaccount has the profile of its root.
async fn root_of(db: &mut PgConnection, parent: AccountId) -> Result<Account, Error> {
    let found = accounts::get(db, parent.uuid()).await?;
    let found = found.ok_or(Error::AccountNotFound(parent))?;
    let root = accounts::get(db, found.root_id).await?;
    root.ok_or(Error::Stored("root account"))
}
