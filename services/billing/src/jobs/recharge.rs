//! Auto-recharge of balances (C-28): one charge per account at a time, never more than its owner agreed to (D34), and
//! as often as its profile allows.

use chassis::PgConnection;
use chrono::{DateTime, Datelike as _, Months, TimeDelta, Utc};
use tokio::sync::OnceCell;
use uuid::Uuid;
use values::{AccountId, Amount, MethodId, Rounding};

use crate::clients::{Catalogue, RechargePolicy};
use crate::ctx::Ctx;
use crate::domain::collection::{LineKind, Purpose};
use crate::domain::recharge::{self, Mode, Recharge};
use crate::error::Error;
use crate::ops::collect::{self, Of};
use crate::ops::recharge::switch_off;
use crate::store::auto_recharges::{self, AutoRecharge};
use crate::store::collections::{self, Line};
use crate::store::{accounts, closings, ledger};

/// Minimum time between two recharges of an account, whatever it spends.
const COOL_DOWN: TimeDelta = TimeDelta::minutes(5);

/// Checks balances and requests recharges that are due; returns how many it looked at.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let now = ctx.clock.now().await?;
    let due = async |limit| {
        let mut db = ctx.db.acquire().await?;
        Ok::<_, Error>(auto_recharges::due(&mut db, now, limit).await?)
    };
    let catalogue = OnceCell::new();
    let one = async |root: &Uuid| {
        let catalogue = catalogue.get_or_try_init(|| ctx.active_catalogue()).await?;
        go_on(ctx, catalogue, *root, now).await
    };
    super::queue(ctx, "recharge").work(ctx, due, one).await
}

async fn go_on(
    ctx: &Ctx,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let Some(id) = begun(ctx, catalogue, root, now).await? else {
        return Ok(());
    };
    // A refusal has been applied to the collection already; a lost call is repeated by the `ask_payments` job.
    if let Err(error) = collect::ask(ctx, id).await {
        tracing::warn!(
            collection.id = %id,
            error = %chassis::Chain(&error),
            "requesting the charge of a recharge failed; a lost call is repeated"
        );
    }
    Ok(())
}

/// Stores the recharge of a root account if one is due; returns its collection.
async fn begun(
    ctx: &Ctx,
    catalogue: &Catalogue,
    root: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let excluded = excluded(ctx, catalogue, root, now).await?;
    let mut tx = ctx.db.begin().await?;
    // Every script locks the balance first; any other order could deadlock.
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

/// Whether a balance is low and its recharge would use a card of an excluded country (C-28). The account may have got
/// that card after auto-recharge was switched on.
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

/// Stores the recharge that a balance needs now, if any, and schedules the next check. The balance is locked.
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
        // The end of the charge or of the closing triggers the next check.
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
        minimum: setting.minimum_micros,
        balance,
        pending: 0,
        made,
        maximum: policy.max_per_month,
        failures: u32::try_from(setting.failures).unwrap_or(0),
    });
    let Some(micros) = due else {
        // The monthly limit is reached; the next check is at the start of the next month.
        let next = profile.zone.day(month) + Months::new(1);
        let next = profile.zone.start_of(next.with_day(1).unwrap_or(next));
        auto_recharges::look_at(db, root, Some(next)).await?;
        return Ok(None);
    };
    let credit = Amount::from_micros(micros, profile.currency).rounded(Rounding::HalfUp);
    let line = Line {
        formula: "credit, by auto-recharge".to_owned(),
        ..Line::plain(LineKind::Credits, credit.minor().max(1))
    };
    let id = Uuid::now_v7();
    let of = Of {
        purpose: Purpose::Recharge,
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
        Mode::TopUpTo {
            target: setting.amount_micros,
            maximum: setting.maximum_micros,
        }
    } else {
        Mode::AddAmount(setting.amount_micros)
    }
}
