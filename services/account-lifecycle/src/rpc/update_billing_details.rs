//! `AccountService.UpdateBillingDetails`

use chassis::{Call, Caller, FieldError, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use super::get_billing_details::shown;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{permit, tell_details};
use crate::store::accounts;
use crate::store::billing_details::{self, BillingDetails};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::UpdateBillingDetailsRequest>,
) -> Result<pb::UpdateBillingDetailsResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let invoiced = match pb::account::BillingMode::try_from(request.billing_mode) {
        Ok(pb::account::BillingMode::Unspecified) => None,
        Ok(pb::account::BillingMode::Prepaid) => Some(false),
        Ok(pb::account::BillingMode::Invoiced) => Some(true),
        Err(_) => {
            let expected = "BILLING_MODE_PREPAID or BILLING_MODE_INVOICED";
            return Err(field_error("billing_mode", expected).into());
        }
    };
    let details = match &request.billing_details {
        Some(sent) => Some(read(id.uuid(), sent)?),
        None => None,
    };
    let account = permit::allowed(&ctx, &call.caller, id, Action::BuyCredits).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    if invoiced.is_some() && matches!(call.caller, Caller::Person { .. }) {
        return Err(Error::OperatorsOnly("billing_mode"));
    }
    // Who buys without tax has shown why.
    let exempt = details.as_ref().is_some_and(|it| it.export_supply);
    if exempt && matches!(call.caller, Caller::Person { .. }) {
        return Err(Error::OperatorsOnly("billing_details.export_supply"));
    }
    let mut unit = permit::step(&ctx, &call, &account).await?;
    if let Some(invoiced) = invoiced {
        accounts::set_invoiced(&mut unit.tx, id.uuid(), invoiced).await?;
    }
    let kept = match &details {
        Some(details) => billing_details::set(&mut unit.tx, details).await?,
        // As they are, to be told again with how it pays.
        None => billing_details::touch(&mut unit.tx, id.uuid()).await?,
    };
    unit.commit_step().await?;
    // From here on they are known here: a retry, or the job, tells the others.
    tell_details::finish(&ctx, &kept).await?;
    let unit: Unit = permit::step(&ctx, &call, &account).await?;
    let mode = if invoiced.unwrap_or(account.invoiced) {
        pb::account::BillingMode::Invoiced
    } else {
        pb::account::BillingMode::Prepaid
    };
    Ok(unit
        .commit(pb::UpdateBillingDetailsResponse {
            billing_details: Some(shown(&kept)),
            billing_mode: mode.into(),
        })
        .await?)
}

fn read(root_id: Uuid, sent: &pb::BillingDetails) -> Result<BillingDetails, FieldError> {
    let text = |field: &str, text: &str, longest: usize| {
        let field = format!("billing_details.{field}");
        if text.is_empty() {
            return Ok(String::new());
        }
        wire::text(&field, text, longest).map(str::to_owned)
    };
    let country = text("country_code", &sent.country_code, 2)?;
    let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    if !country.is_empty() && !is_country {
        let expected = "an ISO 3166-1 code such as IN";
        return Err(field_error("billing_details.country_code", expected));
    }
    let state = wire::optional_code("billing_details.state_code", &sent.state_code)?;
    let email = text("email", &sent.email, 254)?;
    if !email.is_empty() && email.parse::<lettre::Address>().is_err() {
        return Err(field_error("billing_details.email", "an e-mail address"));
    }
    Ok(BillingDetails {
        root_id,
        recipient_name: text("recipient_name", &sent.recipient_name, 200)?,
        // With its lines.
        address: address(&sent.address)?,
        country_code: country,
        state_code: state.unwrap_or_default().to_owned(),
        tax_id: text("tax_id", &sent.tax_id, 50)?,
        export_supply: sent.export_supply,
        email,
        revision: 0,
    })
}

/// An address of several lines.
fn address(sent: &str) -> Result<String, FieldError> {
    let plain = |c: char| c == '\n' || !c.is_control();
    let fits = sent.chars().count() <= 700 && sent.lines().count() <= 8;
    if fits && sent.chars().all(plain) {
        return Ok(sent.to_owned());
    }
    Err(field_error(
        "billing_details.address",
        "at most 8 lines of text and 700 characters",
    ))
}
