//! Follows what `billing` tells of balances: an empty one suspends its account where the profile says so, and
//! money lifts it (REQ-132, D4); and of failed renewals, open invoices and recharging that is off, which the owner is told of.

use chassis::wire;
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use tonic::Status;
use values::{AccountId, InvoiceId};

use crate::ctx::Ctx;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::ops::{hold, suspend};
use crate::store::accounts::Account;
use crate::store::{self, Tenant, accounts, watch_positions};

/// The name of what is followed.
const SOURCE: &str = "billing.balances";

/// Takes notice of every change that has come since the last one; gives how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let news = open(ctx, false).await?;
    chassis::follow(news, async |change| {
        if let Err(error) = take(ctx, &change).await {
            let away = matches!(&error, Error::Peer(status) if chassis::is_away(status));
            if away || matches!(&error, Error::Database(_)) {
                return Err(error);
            }
            // One that can't be taken notice of must not stop the others.
            tracing::error!(account.id = change.account_id, error = %chassis::Chain(&error), "news of a balance is passed over");
            pass(ctx, &change.resume_token).await?;
        }
        Ok(())
    })
    .await
}

/// Notes that news was followed which nothing came of.
async fn pass(ctx: &Ctx, token: &str) -> Result<(), Error> {
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    watch_positions::set(&mut tx, SOURCE, token).await?;
    tx.commit().await?;
    Ok(())
}

async fn open(
    ctx: &Ctx,
    allow_bookmark: bool,
) -> Result<tonic::Streaming<billing::WatchBalancesResponse>, Error> {
    let mut db = ctx.db.acquire().await?;
    let resume_token = watch_positions::get(&mut db, SOURCE).await?;
    drop(db);
    let request = billing::WatchBalancesRequest {
        resume_token,
        allow_bookmark,
    };
    let opened = ctx.billing.clone().watch_balances(request).await;
    Ok(opened.map_err(chassis::normalised)?.into_inner())
}

/// Takes notice of one change, and notes in the same transaction that it was.
async fn take(ctx: &Ctx, change: &billing::WatchBalancesResponse) -> Result<(), Error> {
    let now = ctx.clock.now().await?;
    let root: AccountId = change
        .account_id
        .parse()
        .map_err(|_| Error::Stored("id of billing"))?;
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    let account = accounts::get(&mut tx, root.uuid()).await?;
    tx.commit().await?;
    let profile = match &account {
        Some(account) if change.threshold_code == "ZERO" && !account.invoiced => {
            Some(ctx.profile_of(account).await?)
        }
        Some(_) | None => None,
    };
    let mut tx = ctx.db.begin().await?;
    store::enter(&mut tx, Tenant::All).await?;
    if let Some(account) = &account {
        tell(&mut tx, account, change, now).await?;
    }
    if let Some(profile) = &profile {
        accounts::lock(&mut tx, root.uuid()).await?;
        accounts::set_empty(&mut tx, root.uuid(), change.below.then_some(now)).await?;
        hold::dated(&mut tx, root.uuid(), profile.hold_days, now).await?;
    }
    if profile.is_some_and(|it| it.suspends_at_zero) {
        let actor = "service:billing";
        suspend::set(
            &mut tx,
            root.uuid(),
            ("BALANCE", change.below),
            (actor, ""),
            now,
        )
        .await?;
    }
    watch_positions::set(&mut tx, SOURCE, &change.resume_token).await?;
    tx.commit().await?;
    Ok(())
}

/// Tells an account's owner of a change.
async fn tell(
    db: &mut sqlx::PgConnection,
    account: &Account,
    change: &billing::WatchBalancesResponse,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let token = &change.resume_token;
    let news = if let Some(failed) = &change.failed_renewal {
        renewal_failed(failed, token, now)?
    } else if let Some(open) = &change.open_invoice {
        invoice_open(open, token)?
    } else if !change.recharge_disable_reason.is_empty() {
        News {
            kind: "AUTO_RECHARGE_OFF",
            event: format!("recharge {token}"),
            facts: vec![("reason", change.recharge_disable_reason.clone())],
            invoice: None,
        }
    } else if change.below {
        balance_fallen(change)
    } else {
        return Ok(());
    };
    notify::owner(db, account, &news, now).await
}

/// A renewal could not be paid: why, and when it is tried again, or that the plan ends.
fn renewal_failed(
    failed: &billing::FailedRenewal,
    token: &str,
    now: DateTime<Utc>,
) -> Result<News<'static>, Error> {
    let next = wire::optional_instant("next_attempt_time", failed.next_attempt_time);
    let next = next.map_err(|_| Error::Stored("instant of billing"))?;
    let then = match next {
        Some(at) => ("next_attempt_time", at.to_rfc3339()),
        None => ("plan_end_time", now.to_rfc3339()),
    };
    Ok(News {
        kind: "RENEWAL_FAILED",
        event: format!("renewal {token}"),
        facts: vec![("reason", failed.failure_reason.clone()), then],
        invoice: None,
    })
}

/// An invoice waits to be paid; its mail brings it along.
fn invoice_open(open: &billing::OpenInvoice, token: &str) -> Result<News<'static>, Error> {
    let invoice: InvoiceId = open
        .invoice_id
        .parse()
        .map_err(|_| Error::Stored("id of billing"))?;
    let due = open.amount_due.clone().unwrap_or_default();
    let due = format!("{} {}", due.currency_code, due.amount);
    let mut facts = vec![
        ("invoice_number", open.number.clone()),
        ("amount_due", due),
        ("due_date", open.due_date.clone()),
    ];
    if !open.failure_reason.is_empty() {
        facts.push(("reason", open.failure_reason.clone()));
    }
    let kind = if open.overdue {
        "INVOICE_OVERDUE"
    } else {
        "INVOICE_ISSUED"
    };
    Ok(News {
        kind,
        event: format!("invoice {token}"),
        facts,
        invoice: Some(invoice.uuid()),
    })
}

/// A balance has fallen below a threshold.
fn balance_fallen(change: &billing::WatchBalancesResponse) -> News<'static> {
    let kind = if change.threshold_code == "ZERO" {
        "BALANCE_EMPTY"
    } else {
        "BALANCE_LOW"
    };
    let balance = change.balance.clone().unwrap_or_default();
    let left = format!("{} {}", balance.currency_code, balance.amount);
    News {
        kind,
        event: format!("balance {}", change.resume_token),
        facts: vec![("balance", left)],
        invoice: None,
    }
}

/// Whether there is a change that was not taken notice of yet: asked by a test clock, which waits for it.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let first = open(ctx, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}
