//! `BillingService.SetAutoRecharge`

use chassis::{Call, FieldError, Unit, field_error, wire};
use proto::billing::v1 as pb;
use proto::payments::v1 as payments;
use values::{AccountId, Currency, MethodId};

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
        .ok_or_else(|| field_error("auto_recharge", "the setting"))?;
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
    let setting = read(asked, policy, (id, method), profile.currency)?;
    if setting.enabled {
        let methods = ctx.payment_methods(&request.account_id).await?;
        if !methods.iter().any(|it| usable(it, method, policy)) {
            return Err(Error::NoRecurringMethod(id));
        }
    }
    let mut unit: Unit = call.step::<Error>(&ctx.db).await?;
    ledger::lock(&mut unit.tx, &[account.root_id]).await?;
    if closings::stands(&mut unit.tx, account.root_id).await? {
        return Err(Error::AccountClosed(id));
    }
    auto_recharges::set(&mut unit.tx, &setting, call.now).await?;
    let response = pb::SetAutoRechargeResponse {
        auto_recharge: Some(shown(&setting, policy, profile.currency)),
    };
    let response = unit.commit(response).await?;
    ctx.wake.notify_waiters();
    Ok(response)
}

/// Whether a method may be charged without the person, here: the one that is named, or the default one.
fn usable(it: &payments::PaymentMethod, method: Option<MethodId>, policy: &RechargePolicy) -> bool {
    let meant = match method {
        Some(id) => it.payment_method_id == id.to_string(),
        None => it.default_method,
    };
    meant && it.recurring && offered(&it.country_code, &policy.excluded_countries)
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
            .map_err(|_| field_error(field, "a smaller sum"))?
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
            "the least threshold of the profile or more",
        ));
    }
    let least = if policy.tops_up { threshold_micros } else { 0 };
    if amount_micros <= least {
        return Err(field_error(
            "auto_recharge.amount.amount",
            "above zero, and a balance to reach above the threshold",
        ));
    }
    Ok(AutoRecharge {
        root_id: id.uuid(),
        enabled: asked.enabled,
        threshold_micros,
        amount_micros,
        method_id: method.map(MethodId::uuid),
        failures: 0,
        not_before: None,
        disable_reason: String::new(),
    })
}
