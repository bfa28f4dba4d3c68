//! `BillingService.GetAutoRecharge`

use chassis::wire::{self, pb_money};
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
        method_id: None,
        failures: 0,
        not_before: None,
        disable_reason: String::new(),
    });
    Ok(pb::GetAutoRechargeResponse {
        auto_recharge: Some(shown(&setting, policy, profile.currency)),
    })
}

/// A setting as the wire shows it.
pub fn shown(from: &AutoRecharge, policy: &RechargePolicy, currency: Currency) -> pb::AutoRecharge {
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
    }
}
