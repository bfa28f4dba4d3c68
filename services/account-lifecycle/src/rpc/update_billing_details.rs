//! `AccountService.UpdateBillingDetails`
//!
//! Stores the details here and then sends them to billing and payments; the job sends them if this call is cut short.

use chassis::{Call, FieldError, OperatorRole, PgConnection, Unit, field_error, wire};
use proto::account::v1 as pb;
use uuid::Uuid;
use values::AccountId;

use super::create_account::INVOICERS;
use super::create_user::mailbox;
use super::get_billing_details::shown;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::{permit, tell_details};
use crate::store::billing_details::{self, BillingDetails};
use crate::store::{accounts, kyc_submissions};

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
    let reason = match request.country_reason.as_str() {
        "" => "",
        text => wire::text("country_reason", text, 200)?,
    };
    let details = match &request.billing_details {
        Some(sent) => Some(read(&ctx, (id.uuid(), reason), sent)?),
        None => None,
    };
    let account = permit::acting(&ctx, &call, id, Action::BuyCredits).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    if invoiced.is_some() && !call.caller.is_operator_with(INVOICERS) {
        return Err(Error::OperatorsOnly("billing_mode"));
    }
    // Purchases without tax need proof, which billing operators check.
    let exempt = details.as_ref().is_some_and(|it| it.export_supply);
    if exempt && !call.caller.is_operator_with(&[OperatorRole::Billing]) {
        return Err(Error::OperatorsOnly("billing_details.export_supply"));
    }
    let by_operator = call.caller.is_operator_with(&[OperatorRole::Billing]);
    if !reason.is_empty() && !by_operator {
        return Err(Error::OperatorsOnly("country_reason"));
    }
    let mut unit = permit::step(&ctx, &call, &account).await?;
    // A concurrent KYC approval waits for the lock and then sees these details.
    permit::lock(&mut unit, &account).await?;
    if let Some(invoiced) = invoiced {
        accounts::set_invoiced(&mut unit.tx, id.uuid(), invoiced).await?;
    }
    let kept = match details {
        Some(details) => {
            let details = settled(&mut unit.tx, details, by_operator).await?;
            billing_details::set(&mut unit.tx, &details).await?
        }
        // Unchanged, but sent again together with the billing mode.
        None => billing_details::touch(&mut unit.tx, id.uuid()).await?,
    };
    unit.commit_step().await?;
    // Stored from here on: a retry or the job sends them to the other services.
    tell_details::finish(&ctx, kept.root_id).await?;
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

/// Details with the country that they have by the account's KYC: where one was withdrawn or another is under review, by
/// the one that was approved last.
async fn settled(
    db: &mut PgConnection,
    sent: BillingDetails,
    by_operator: bool,
) -> Result<BillingDetails, Error> {
    let known = billing_details::get(db, sent.root_id).await?;
    let country = kyc_submissions::country_once_approved(db, sent.root_id).await?;
    Ok(sent.settled(known.as_ref(), country.as_deref(), by_operator)?)
}

fn read(
    ctx: &Ctx,
    (root_id, reason): (Uuid, &str),
    sent: &pb::BillingDetails,
) -> Result<BillingDetails, FieldError> {
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
    let email = match sent.email.as_str() {
        "" => "",
        email => mailbox(ctx, "billing_details.email", email)?,
    };
    Ok(BillingDetails {
        root_id,
        recipient_name: text("recipient_name", &sent.recipient_name, 200)?,
        // Keeps its line breaks.
        address: address(&sent.address)?,
        country_code: country,
        state_code: state.unwrap_or_default().to_owned(),
        tax_id: text("tax_id", &sent.tax_id, 50)?,
        export_supply: sent.export_supply,
        email: email.to_owned(),
        country_reason: reason.to_owned(),
        revision: 0,
    })
}

/// Characters per line on an invoice.
const LINE: usize = 42;
/// Lines that an address may take on an invoice.
const LINES: usize = 8;

/// Parses a multi-line address that fits on an invoice.
fn address(sent: &str) -> Result<String, FieldError> {
    const FIELD: &str = "billing_details.address";
    let taken = |line: &str| line.chars().count().div_ceil(LINE).max(1);
    if LINES < sent.lines().map(taken).sum::<usize>() {
        let expected = "at most 8 lines of 42 characters: longer lines count as several";
        return Err(field_error(FIELD, expected));
    }
    wire::lines(FIELD, sent, LINE * LINES + LINES).map(str::to_owned)
}
