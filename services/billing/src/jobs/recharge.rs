//! Fills balances by themselves (C-28): one charge at a time an account, as often as its profile allows.

use chrono::{DateTime, Datelike as _, Months, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use values::{AccountId, Amount, MethodId, Rounding};

use crate::clients::{Catalogue, RechargePolicy};
use crate::ctx::Ctx;
use crate::domain::recharge::{self, Mode, Recharge};
use crate::error::Error;
use crate::ops::collect::{self, Of};
use crate::ops::recharge::switch_off;
use crate::store::auto_recharges::{self, AutoRecharge};
use crate::store::collections::{self, Line};
use crate::store::{accounts, closings, ledger};

/// How long after a recharge no other begins, whatever is spent.
const COOL_DOWN: TimeDelta = TimeDelta::minutes(5);
/// How long after a failure of ours a balance is looked at again.
const LATER: TimeDelta = TimeDelta::minutes(5);

/// Looks at one balance, and asks for a charge where it is due; gives how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let mut db = ctx.db.acquire().await?;
    let Some(root) = auto_recharges::due(&mut db, now).await? else {
        return Ok(0);
    };
    drop(db);
    let catalogue = ctx.active_catalogue().await?;
    let asked = match begun(ctx, &catalogue, root, now).await {
        Ok(asked) => asked,
        Err(error) => {
            // One account at fault is looked at later, and does not keep the others waiting.
            tracing::error!(account.id = %root, error = %chassis::Chain(&error), "a balance was not looked at");
            let mut db = ctx.db.acquire().await?;
            auto_recharges::look_at(&mut db, root, Some(now + LATER)).await?;
            return Ok(1);
        }
    };
    if let Some(id) = asked {
        // What is refused is counted there; what is lost, the job that asks again finds.
        if let Err(error) = collect::ask(ctx, id).await {
            tracing::warn!(collection.id = %id, error = %chassis::Chain(&error), "asking for a recharge failed");
        }
    }
    Ok(1)
}

/// The recharge of a root account, written down where it is due.
async fn begun(
    ctx: &Ctx,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let excluded = excluded(ctx, catalogue, root, now).await?;
    let mut tx = ctx.db.begin().await?;
    // The balance first, as everywhere: else two would wait for each other.
    ledger::lock(&mut tx, &[root]).await?;
    let Some(setting) = auto_recharges::lock_due(&mut tx, root, now).await? else {
        return Ok(None);
    };
    if excluded {
        switch_off(&mut tx, root, "CARD_COUNTRY_EXCLUDED", now).await?;
        tx.commit().await?;
        return Ok(None);
    }
    let asked = look_at(&mut tx, catalogue, &setting, now).await?;
    tx.commit().await?;
    Ok(asked)
}

/// Whether a balance is low that a card would fill of a country whose cards are not charged so (C-28): it may have
/// become the account's after recharging was switched on.
async fn excluded(
    ctx: &Ctx,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let mut db = ctx.db.acquire().await?;
    let account = accounts::get(&mut db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let policy = collect::profile(catalogue, &account)?.recharge.as_ref();
    let Some(policy) = policy.filter(|it| !it.excluded_countries.is_empty()) else {
        return Ok(false);
    };
    let setting = auto_recharges::get(&mut db, root).await?;
    let balance = ledger::balance(&mut db, root, now).await?;
    drop(db);
    let Some(setting) = setting.filter(|it| balance < it.threshold_micros) else {
        return Ok(false);
    };
    let account_id = AccountId::from_uuid(root).to_string();
    let methods = ctx.payment_methods(&account_id).await?;
    let meant = setting
        .method_id
        .map(|id| MethodId::from_uuid(id).to_string());
    let mut meant = methods.iter().filter(|it| match &meant {
        Some(id) => it.payment_method_id == *id,
        None => it.default_method,
    });
    Ok(meant.any(|it| !recharge::offered(&it.country_code, &policy.excluded_countries)))
}

/// Writes the recharge that a balance, which is locked, needs now, if any, and notes when to look at it next.
async fn look_at(
    db: &mut PgConnection,
    catalogue: &Catalogue,
    setting: &AutoRecharge,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let root = setting.root_id;
    let account = accounts::get(db, root)
        .await?
        .ok_or(Error::Stored("account"))?;
    let profile = collect::profile(catalogue, &account)?;
    let month = collect::month_start(profile, now);
    let (made, last) = collections::recharges(db, root, month).await?;
    let made = u32::try_from(made).unwrap_or(u32::MAX);
    let under_way = collections::recharge_under_way(db, root).await?.is_some();
    let closing = closings::stands(db, root).await?;
    let may = !under_way && !closing;
    let Some(policy) = profile.recharge.as_ref().filter(|_| may) else {
        // Its end has the balance looked at again.
        auto_recharges::look_at(db, root, None).await?;
        return Ok(None);
    };
    let balance = ledger::balance(db, root, now).await?;
    if setting.threshold_micros <= balance {
        auto_recharges::look_at(db, root, None).await?;
        return Ok(None);
    }
    let cool = last.map(|last| last + COOL_DOWN);
    if let Some(wait) = cool.max(setting.not_before).filter(|until| now < *until) {
        auto_recharges::look_at(db, root, Some(wait)).await?;
        return Ok(None);
    }
    let due = recharge::due(&Recharge {
        mode: mode(policy, setting),
        threshold: setting.threshold_micros,
        minimum: 0,
        balance,
        pending: 0,
        made,
        maximum: policy.max_per_month,
        failures: u32::try_from(setting.failures).unwrap_or(0),
    });
    let Some(micros) = due else {
        // The month's limit: with the next month it is looked at again.
        let next = profile.zone.day(month) + Months::new(1);
        let next = profile.zone.start_of(next.with_day(1).unwrap_or(next));
        auto_recharges::look_at(db, root, Some(next)).await?;
        return Ok(None);
    };
    let credit = Amount::from_micros(micros, profile.currency).rounded(Rounding::HalfUp);
    let line = Line {
        kind: "CREDITS".to_owned(),
        plan_code: String::new(),
        cycle_code: String::new(),
        amount_minor: credit.minor().max(1),
        formula: "credit, by auto-recharge".to_owned(),
    };
    let id = Uuid::now_v7();
    let of = Of {
        purpose: "RECHARGE",
        order: None,
        invoice: None,
        method: setting.method_id,
        intent: id,
        id,
    };
    let begun = collect::begin(db, (catalogue, &account), &of, &[line], now).await?;
    auto_recharges::look_at(db, root, None).await?;
    Ok(Some(begun.collection_id))
}

fn mode(policy: &RechargePolicy, setting: &AutoRecharge) -> Mode {
    if policy.tops_up {
        Mode::TopUpTo(setting.amount_micros)
    } else {
        Mode::AddAmount(setting.amount_micros)
    }
}
