//! `PaymentsService.AddPaymentMethod`
//!
//! Has the provider describe the token and bind it to the account, and stores the method. Card numbers are refused
//! (R31).

use chassis::{Call, PgConnection, Unit, field_error, wire};
use proto::payments::v1 as pb;
use uuid::Uuid;
use values::{AccountId, MethodId};

use super::convert;
use crate::ctx::Ctx;
use crate::domain::catalogue::Method as Offered;
use crate::domain::token::{BadToken, Token};
use crate::error::Error;
use crate::ops::payer;
use crate::providers::{Instrument, NotAttached};
use crate::store::accounts;
use crate::store::methods::{self, Method};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::AddPaymentMethodRequest>,
) -> Result<pb::AddPaymentMethodResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let country = convert::country("country_code", &request.country_code)?;
    choices_read(request)?;
    let mut tx = ctx.db.begin().await?;
    let account = payer::entered(&mut tx, id).await?;
    let catalogue = ctx
        .catalogue(&mut tx, convert::version(&request.catalogue_version)?)
        .await?;
    tx.commit().await?;
    let code = wire::code("method_code", &request.method_code)?;
    let offered = payer::method(&catalogue, "method_code", code)?;
    if !offered.is_offered_in(&account.country_code) {
        return Err(Error::MethodNotAvailable(code.to_owned()));
    }

    let (provider_code, told) = if offered.offline {
        if !request.provider_code.is_empty() || !request.provider_token.is_empty() {
            let expected = "no value for a method that is settled offline";
            return Err(field_error("provider_token", expected).into());
        }
        ("", Instrument::default())
    } else {
        attached(&ctx, request, id.uuid()).await?
    };
    let wins = |told: String, sent: &str| {
        if told.is_empty() {
            sent.to_owned()
        } else {
            told
        }
    };
    let card = !offered.networks.is_empty();
    let method = Method {
        root_id: id.uuid(),
        method_id: call.derived_id("method"),
        method_code: code.to_owned(),
        provider_code: provider_code.to_owned(),
        provider_token: request.provider_token.clone(),
        network_code: if card {
            wins(told.network, &request.network_code)
        } else {
            String::new()
        },
        bank_code: request.bank_code.clone(),
        app_code: request.app_code.clone(),
        country_code: wins(told.country, country),
        last_four: if card { told.last_four } else { String::new() },
        expiry_month: if card {
            told.expiry_month
        } else {
            String::new()
        },
        recurring: offered.recurring,
        is_default: false,
        off_session_allowed: request.off_session_allowed.unwrap_or(false),
        created_at: call.now,
        removed_at: None,
    };
    check_choices(offered, &method)?;

    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    payer::entered(&mut unit.tx, id).await?;
    let stored = kept(&mut unit.tx, method, request).await?;
    Ok(unit
        .commit(pb::AddPaymentMethodResponse {
            payment_method: Some(convert::method(&stored, call.now)),
        })
        .await?)
}

/// Stores a method, unless its token is known, and makes it the default if requested or if it is the first. Returns the
/// stored method.
async fn kept(
    db: &mut PgConnection,
    method: Method,
    request: &pb::AddPaymentMethodRequest,
) -> Result<Method, Error> {
    let root = method.root_id;
    accounts::lock(db, root).await?;
    let known = methods::by_token(db, root, &method.provider_code, &method.provider_token).await?;
    let id = match known {
        Some(known) if known.method_code != method.method_code => {
            let id = MethodId::from_uuid(known.method_id);
            return Err(Error::PaymentMethodExists(id));
        }
        Some(known) => {
            if let Some(allowed) = request.off_session_allowed {
                methods::set_off_session_allowed(db, root, known.method_id, allowed).await?;
            }
            known.method_id
        }
        None => {
            methods::insert(db, &method).await?;
            method.method_id
        }
    };
    if request.default_method || methods::default_of(db, root).await?.is_none() {
        methods::set_default(db, root, Some(id)).await?;
    }
    methods::get(db, root, id)
        .await?
        .ok_or(Error::Stored("method"))
}

/// The provider's description of the token.
async fn attached<'r>(
    ctx: &Ctx,
    request: &'r pb::AddPaymentMethodRequest,
    owner: Uuid,
) -> Result<(&'r str, Instrument), Error> {
    let provider = match request.provider_code.as_str() {
        "" => ctx.default_provider,
        code => wire::code("provider_code", code)?,
    };
    let token = Token::parse(&request.provider_token).map_err(|bad| match bad {
        BadToken::CardNumber => Error::CardNumber("provider_token".to_owned()),
        BadToken::Malformed => {
            field_error("provider_token", "1 to 255 letters, digits, '-' or '_'").into()
        }
    })?;
    match ctx.provider(provider)?.attach(&token, owner).await {
        Ok(told) => Ok((provider, told)),
        Err(NotAttached::Refused(reason)) => Err(Error::ProviderTokenRefused(reason)),
        Err(NotAttached::Unavailable) => Err(Error::ProviderUnavailable(provider.to_owned())),
    }
}

/// Checks that network, bank and app are codes or empty.
fn choices_read(request: &pb::AddPaymentMethodRequest) -> Result<(), Error> {
    for (field, code) in [
        ("network_code", &request.network_code),
        ("bank_code", &request.bank_code),
        ("app_code", &request.app_code),
    ] {
        wire::optional_code(field, code)?;
    }
    Ok(())
}

/// Checks that the catalogue offers the network, bank and app; a method with choices requires one.
fn check_choices(offered: &Offered, method: &Method) -> Result<(), Error> {
    for (field, value, allowed) in [
        ("network_code", &method.network_code, &offered.networks),
        ("bank_code", &method.bank_code, &offered.banks),
        ("app_code", &method.app_code, &offered.apps),
    ] {
        let fits = if allowed.is_empty() {
            value.is_empty()
        } else {
            allowed.contains(value)
        };
        if !fits {
            return Err(Error::NotInCatalogue {
                field,
                value: value.clone(),
            });
        }
    }
    Ok(())
}
