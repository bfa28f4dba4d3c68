//! `BillingService.UpdateAccountFacts`

use chassis::{Call, Unit, field_error, wire};
use proto::billing::v1 as pb;
use values::AccountId;

use crate::ctx::Ctx;
use crate::error::Error;
use crate::store::accounts::{self, Facts};

pub async fn handle(
    _: Ctx,
    call: Call<pb::UpdateAccountFactsRequest>,
    mut unit: Unit,
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
    let recipient = match request.recipient.as_str() {
        "" => None,
        text if text.chars().count() <= 1000 && !text.contains('\0') => Some(text.to_owned()),
        _ => return Err(field_error("recipient", "at most 1000 characters").into()),
    };
    let facts = Facts {
        invoiced,
        country_code: country.map(str::to_owned),
        state_code: state.map(str::to_owned),
        recipient,
        export_supply: request.export_supply,
    };
    if !accounts::set_facts(&mut unit.tx, id.uuid(), &facts).await? {
        return Err(Error::AccountNotFound(id));
    }
    Ok(unit.commit(pb::UpdateAccountFactsResponse {}).await?)
}
