//! `BillingService.UpdateAccountFacts`

use std::sync::Arc;

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use crate::clients::Catalogue;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::bill_usage;
use crate::store::accounts::{self, Facts};
use crate::store::{ledger, recipients};

pub async fn handle(
    _: Ctx,
    call: Call<pb::UpdateAccountFactsRequest>,
    mut unit: Unit,
    catalogue: Arc<Catalogue>,
) -> Result<pb::UpdateAccountFactsResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let invoiced = match pb::BillingMode::try_from(request.billing_mode) {
        Ok(pb::BillingMode::Unspecified) => None,
        Ok(pb::BillingMode::Prepaid) => Some(false),
        Ok(pb::BillingMode::Invoiced) => Some(true),
        Err(_) => {
            return Err(field_error(
                "billing_mode",
                "BILLING_MODE_PREPAID or BILLING_MODE_INVOICED",
            )
            .into());
        }
    };
    let country = wire::optional_code("country_code", &request.country_code)?;
    if country.is_some_and(|code| code.len() != 2 || !code.bytes().all(|b| b.is_ascii_uppercase()))
    {
        return Err(field_error("country_code", "an ISO 3166-1 code such as IN").into());
    }
    let state = wire::optional_code("state_code", &request.state_code)?;
    let recipient = wire::lines("recipient", &request.recipient, 1000)?;
    if 30 < recipient.lines().count() {
        return Err(field_error("recipient", "at most 30 lines").into());
    }
    let revision = request.details_revision;
    if revision < 0 {
        return Err(field_error("details_revision", "a revision above zero, or 0 for none").into());
    }
    // With a revision, all details are replaced; otherwise only those given.
    let whole = 0 < revision;
    let given = |code: Option<&str>| match code {
        None if whole => Some(String::new()),
        code => code.map(str::to_owned),
    };
    let facts = Facts {
        invoiced,
        country_code: given(country),
        state_code: given(state),
        export_supply: request.export_supply,
        revision,
    };
    let db = &mut *unit.tx;
    let known = accounts::get(db, id.uuid())
        .await?
        .ok_or(Error::AccountNotFound(id))?;
    // Under this lock, no usage invoice is issued concurrently on the old attributes.
    ledger::lock(db, &[known.root_id]).await?;
    if accounts::set_facts(db, id.uuid(), &facts).await? {
        let root = known.root_id;
        if whole || !recipient.is_empty() {
            recipients::set(db, root, recipient, call.now).await?;
        } else if recipients::known(db, root).await? {
            // The recipient stays and may be taxed elsewhere from now on.
            let same = recipients::at(db, root, call.now).await?;
            let same = same.ok_or(Error::Stored("account"))?;
            recipients::set(db, root, &same.recipient, call.now).await?;
        }
    }
    let account = accounts::get(db, id.uuid())
        .await?
        .ok_or(Error::Stored("account"))?;
    bill_usage::begin(db, &catalogue, &account, call.now).await?;
    Ok(unit.commit(pb::UpdateAccountFactsResponse {}).await?)
}
