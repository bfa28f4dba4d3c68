//! `AccountService.CreateDltRegistration`

use chassis::{Call, Unit, field_error, wire};
use proto::account::v1 as pb;
use values::{AccountId, RegistrationId};

use super::convert;
use super::submit_kyc::country;
use crate::ctx::Ctx;
use crate::domain::permission::Action;
use crate::error::Error;
use crate::ops::history::{self, Told};
use crate::ops::permit;
use crate::store::dlt_registrations::{self, Registration};

/// Maximum of sender names per registration.
const HEADERS_MAX: usize = 100;

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::CreateDltRegistrationRequest>,
) -> Result<pb::CreateDltRegistrationResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let country_code = country("country_code", &request.country_code)?;
    let entity_id = wire::text("entity_id", &request.entity_id, 64)?;
    if HEADERS_MAX < request.headers.len() {
        return Err(field_error("headers", "at most 100").into());
    }
    for (n, header) in request.headers.iter().enumerate() {
        wire::text(&format!("headers[{n}]"), header, 11)?;
    }
    let account = permit::acting(&ctx, &call, id, Action::ChangePlan).await?;
    if account.root_id != account.account_id {
        return Err(Error::UseRootAccount {
            account: id,
            root: AccountId::from_uuid(account.root_id),
        });
    }
    let registration = Registration {
        root_id: account.root_id,
        registration_id: call.derived_id("registration"),
        country_code: country_code.to_owned(),
        entity_id: entity_id.to_owned(),
        headers: request.headers.clone(),
        created_at: call.now,
        revoked_at: None,
    };
    let mut unit: Unit = permit::step(&ctx, &call, &account).await?;
    permit::lock(&mut unit, &account).await?;
    if !dlt_registrations::insert(&mut unit.tx, &registration).await? {
        return Err(Error::DltRegistrationExists(country_code.to_owned()));
    }
    let actor = call.caller.to_string();
    told(&mut unit, &registration, ("REGISTERED", &actor), call.now).await?;
    Ok(unit
        .commit(pb::CreateDltRegistrationResponse {
            dlt_registration: Some(convert::dlt_registration(&registration)),
        })
        .await?)
}

/// Records in the account history that a registration was made or revoked.
pub async fn told(
    unit: &mut Unit,
    it: &Registration,
    (name, actor): (&str, &str),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<(), Error> {
    let change = if name == "REGISTERED" {
        ("", "REGISTERED")
    } else {
        ("REGISTERED", "REVOKED")
    };
    let told = Told {
        state: "DLT",
        name,
        change,
        actor,
        reason: &it.country_code,
        resource: &RegistrationId::from_uuid(it.registration_id).to_string(),
    };
    Ok(history::tell(&mut unit.tx, (it.root_id, it.root_id), &told, now).await?)
}
