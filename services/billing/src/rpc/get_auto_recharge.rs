//! `BillingService.GetAutoRecharge`

use chassis::wire::{self, pb_money, timestamp};
use chrono::{DateTime, Utc};
use proto::billing::v1 as pb;
use values::{Amount, Currency, MethodId, Rounding};

use super::convert;
use crate::clients::RechargePolicy;
use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::collect;
use crate::store::auto_recharges::{self, AutoRecharge};

pub async fn handle(
    ctx: &Ctx,
    request: pb::GetAutoRechargeRequest,
) -> Result<pb::GetAutoRechargeResponse, Error> {
    let id = wire::id("account_id", &request.account_id)?;
    let catalogue = ctx.active_catalogue().await?;
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let account = convert::root_account(&mut db, id).await?;
    let profile = collect::profile(&catalogue, &account)?;
    let not_offered = || Error::AutoRechargeNotOffered(account.profile_code.clone());
    let policy = profile.recharge.as_ref().ok_or_else(not_offered)?;
    let stored = auto_recharges::get(&mut db, account.root_id).await?;
    let setting = stored.unwrap_or(AutoRecharge {
        root_id: account.root_id,
        enabled: false,
        threshold_micros: policy.threshold_micros,
        amount_micros: policy.amount_micros,
        maximum_micros: policy.maximum_micros,
        minimum_micros: 0,
        method_id: None,
        failures: 0,
        not_before: None,
        paused_until: None,
        disable_reason: String::new(),
    });
    Ok(pb::GetAutoRechargeResponse {
        auto_recharge: Some(shown(&setting, policy, (profile.currency, now))),
    })
}

/// Converts a setting, as of an instant.
pub fn shown(
    from: &AutoRecharge,
    policy: &RechargePolicy,
    (currency, now): (Currency, DateTime<Utc>),
) -> pb::AutoRecharge {
    let money = |micros| {
        let exact = Amount::from_micros(micros, currency);
        Some(pb_money(exact.rounded(Rounding::HalfUp)))
    };
    pb::AutoRecharge {
        enabled: from.enabled,
        threshold: money(from.threshold_micros),
        amount: money(from.amount_micros),
        payment_method_id: from
            .method_id
            .map(|id| MethodId::from_uuid(id).to_string())
            .unwrap_or_default(),
        mode: if policy.tops_up {
            "TOP_UP_TO"
        } else {
            "ADD_AMOUNT"
        }
        .to_owned(),
        disable_reason: from.disable_reason.clone(),
        maximum_amount: if policy.tops_up {
            money(from.maximum_micros)
        } else {
            None
        },
        pause_end_time: from
            .paused_until
            .filter(|until| from.enabled && now < *until)
            .map(timestamp),
    }
}
