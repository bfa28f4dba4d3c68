//! `BillingService.SetAutoRecharge`

use chassis::{Call, FieldError, Unit, field_error, wire};
use proto::billing::v1 as pb;
use proto::payments::v1 as payments;
use values::{AccountId, Amount, Currency, MethodId};

use super::convert;
use super::get_auto_recharge::shown;
use crate::clients::RechargePolicy;
use crate::ctx::Ctx;
use crate::domain::recharge::offered;
use crate::error::Error;
use crate::ops::collect;
use crate::store::auto_recharges::{self, AutoRecharge};
use crate::store::{closings, ledger};

pub async fn handle(
    ctx: Ctx,
    call: Call<pb::SetAutoRechargeRequest>,
) -> Result<pb::SetAutoRechargeResponse, Error> {
    let request = &call.message;
    let id: AccountId = wire::id("account_id", &request.account_id)?;
    let asked = request
        .auto_recharge
        .as_ref()
        .ok_or_else(|| field_error("auto_recharge", "the auto-recharge setting"))?;
    let method: Option<MethodId> =
        wire::optional_id("auto_recharge.payment_method_id", &asked.payment_method_id)?;
    let catalogue = ctx.active_catalogue().await?;
    let mut db = ctx.db.acquire().await?;
    let account = convert::root_account(&mut db, id).await?;
    drop(db);
    let profile = collect::profile(&catalogue, &account)?;
    let not_offered = || Error::AutoRechargeNotOffered(account.profile_code.clone());
    let policy = profile.recharge.as_ref().ok_or_else(not_offered)?;
    if account.invoiced && !policy.invoiced {
        return Err(Error::InvoicedAccount(id));
    }
    let mut setting = read(asked, policy, (id, method), profile.currency)?;
    if setting.enabled {
        let open = ctx.methods_for_credit(&request.account_id).await?;
        let of = open.iter().find(|of| {
            let mut own = of.payment_methods.iter();
            own.any(|it| usable(it, method, policy))
        });
        let of = of.ok_or(Error::NoRecurringMethod(id))?;
        setting.minimum_micros = minimum_micros(of, profile.currency)?;
        reaches(&setting, policy)?;
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    if closings::stands(&mut unit.tx, account.root_id).await? {
        return Err(Error::AccountClosed(id));
    }
    if asks_only_to_stop(asked) {
        // The agreed amounts are kept for when auto-recharge is switched on again.
        let known = auto_recharges::get(&mut unit.tx, account.root_id).await?;
        setting = known.map_or(setting, |known| AutoRecharge {
            enabled: false,
            failures: 0,
            not_before: None,
            paused_until: None,
            disable_reason: String::new(),
            ..known
        });
    }
    auto_recharges::set(&mut unit.tx, &setting, call.now).await?;
    let response = pb::SetAutoRechargeResponse {
        auto_recharge: Some(shown(&setting, policy, (profile.currency, call.now))),
    };
    let response = unit.commit(response).await?;
    ctx.wake.notify_waiters();
    Ok(response)
}

/// Whether the request only switches auto-recharge off and gives no other setting.
fn asks_only_to_stop(asked: &pb::AutoRecharge) -> bool {
    let says_nothing = asked.threshold.is_none()
        && asked.amount.is_none()
        && asked.maximum_amount.is_none()
        && asked.payment_method_id.is_empty();
    !asked.enabled && says_nothing
}

/// Whether a method is the requested one, or the default one if none is requested, and can be used for auto-recharge.
fn usable(it: &payments::PaymentMethod, method: Option<MethodId>, policy: &RechargePolicy) -> bool {
    let meant = match method {
        Some(id) => it.payment_method_id == id.to_string(),
        None => it.default_method,
    };
    meant && it.recurring && offered(&it.country_code, &policy.excluded_countries)
}

/// The smallest charge a method accepts, in millionths of the ledger's currency; 0 for none or if it is stated in
/// another currency.
fn minimum_micros(of: &payments::EligibleMethod, currency: Currency) -> Result<i64, Error> {
    let minimum = of.minimum.as_ref();
    let Some(minimum) = minimum.filter(|it| it.currency_code == currency.code()) else {
        return Ok(0);
    };
    let amount = Amount::parse(&minimum.amount, currency);
    let amount = amount.map_err(|_| Error::Stored("minimum of a method"))?;
    Ok(amount.micros())
}

/// Checks that the method accepts a charge of the agreed amount.
fn reaches(setting: &AutoRecharge, policy: &RechargePolicy) -> Result<(), FieldError> {
    if setting.minimum_micros <= setting.maximum_micros {
        return Ok(());
    }
    let field = if policy.tops_up {
        "auto_recharge.maximum_amount.amount"
    } else {
        "auto_recharge.amount.amount"
    };
    Err(field_error(
        field,
        "the minimum of the payment method or more",
    ))
}

fn read(
    asked: &pb::AutoRecharge,
    policy: &RechargePolicy,
    (id, method): (AccountId, Option<MethodId>),
    currency: Currency,
) -> Result<AutoRecharge, FieldError> {
    let micros = |field: &str, sent: Option<&proto::r#type::v1::Money>, default: i64| {
        if sent.is_none() {
            return Ok(default);
        }
        let money = wire::money(field, sent)?;
        if money.currency() != currency {
            return Err(field_error(
                format!("{field}.currency_code"),
                format!("the currency of the account's ledger, {currency}"),
            ));
        }
        let exact = money.amount();
        Ok(exact
            .map_err(|_| field_error(field, "a smaller amount"))?
            .micros())
    };
    let threshold_micros = micros(
        "auto_recharge.threshold",
        asked.threshold.as_ref(),
        policy.threshold_micros,
    )?;
    let amount_micros = micros(
        "auto_recharge.amount",
        asked.amount.as_ref(),
        policy.amount_micros,
    )?;
    if threshold_micros < policy.min_threshold_micros {
        return Err(field_error(
            "auto_recharge.threshold.amount",
            "at least the minimum threshold of the profile",
        ));
    }
    let least = if policy.tops_up { threshold_micros } else { 0 };
    if amount_micros <= least {
        return Err(field_error(
            "auto_recharge.amount.amount",
            "above zero, and above the threshold if it is a target balance",
        ));
    }
    let maximum_micros = match asked.maximum_amount.as_ref() {
        None if policy.tops_up => policy.maximum_micros.max(amount_micros),
        None => amount_micros,
        Some(_) if !policy.tops_up => {
            let expected = "no maximum, because each charge adds the fixed amount";
            return Err(field_error("auto_recharge.maximum_amount", expected));
        }
        sent => micros("auto_recharge.maximum_amount", sent, 0)?,
    };
    if maximum_micros <= 0 {
        return Err(field_error(
            "auto_recharge.maximum_amount.amount",
            "above zero",
        ));
    }
    Ok(AutoRecharge {
        root_id: id.uuid(),
        enabled: asked.enabled,
        threshold_micros,
        amount_micros,
        maximum_micros,
        minimum_micros: 0,
        method_id: method.map(MethodId::uuid),
        failures: 0,
        not_before: None,
        paused_until: None,
        disable_reason: String::new(),
    })
}
