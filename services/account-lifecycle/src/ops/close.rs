//! Closing an account (D23). The steps are: billing computes the settlement and freezes the balance; plan ends the
//! timelines; one transaction closes the account and its subaccounts here; billing is told the closing time and
//! settles.
//!
//! Whoever carries a closing out holds its lease. What a service refuses before the tree is closed, for good or while a
//! run or a payment is under way, has it given up, in billing first; anything else that goes wrong is tried again. Once closed it only goes forward.

use chassis::{PgConnection, Trip, crash_point, is_refusal};
use proto::r#type::v1::{Amount as WireAmount, Money as WireMoney};
use tonic_types::StatusExt as _;
use uuid::Uuid;
use values::{AccountId, Amount, Currency, Money};

use super::history::{self, Told};
use super::limit;
use super::notify::{self, News};
use super::tell_standing;
use crate::clients::passes;
use crate::ctx::Ctx;
use crate::domain::account::Status;
use crate::domain::closing::{CloseRefused, Event, State, after};
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::store::closings::{self, Closing};
use crate::store::{Tenant, accounts, resources};

/// A closing and the fencing token of its lease.
type Held = (Closing, Uuid);

/// Carries out the closing of one account, or with `None` of any that is due. `false` if there is none that this worker
/// could lease.
pub async fn next(ctx: &Ctx, account: Option<Uuid>) -> Result<bool, Error> {
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let taken = closings::take(&mut tx, account, ctx.lease_seconds).await?;
    tx.commit().await?;
    let Some(held) = taken else {
        return Ok(false);
    };
    let (id, token) = (held.0.account_id, held.1);
    // The lease keeps other workers away, so the caller's deadline must not cut the work short.
    if let Err(error) = Trip::unhurried(finish(ctx, held)).await {
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        let waits = closings::put_off(&mut tx, (id, token), &held_up_by(&error)).await?;
        tx.commit().await?;
        if let Some(waits) = waits {
            let account = AccountId::from_uuid(id);
            tracing::warn!(account.id = %account, waits, error = %chassis::Chain(&error), "closing failed and will be retried");
        }
        return Err(error);
    }
    Ok(true)
}

/// Why a closing is delayed: the error reason of the service that refused, such as that of a month that can't be rated
/// or a run in progress; `UNAVAILABLE` for anything else.
fn held_up_by(error: &Error) -> String {
    if let Error::Peer(status) = error
        && let Some(info) = status.get_details_error_info()
    {
        return info.reason;
    }
    "UNAVAILABLE".to_owned()
}

/// Carries out the remaining steps of a closing.
async fn finish(ctx: &Ctx, held: Held) -> Result<(), Error> {
    let mut held = held;
    if held.0.state == State::Preparing {
        match prepared(ctx, &held.0).await {
            Ok(closing) => {
                crash_point("close.prepared");
                held = (closing, held.1);
            }
            Err(error) => return Err(given_up(ctx, held, error).await?),
        }
        // From here on the closing can no longer be prepared again, as plan may have ended the timelines.
        kept(ctx, &held).await?;
        crash_point("close.ending");
    }
    if held.0.state == State::Ending {
        match ctx.close_plans(&held.0).await {
            Ok(()) => {
                crash_point("close.plans_ended");
                held = closed(ctx, held).await?;
                crash_point("close.closed");
            }
            Err(status) => return Err(given_up(ctx, held, Error::Peer(status)).await?),
        }
    }
    match held.0.state {
        State::Aborting => abort(ctx, &held).await,
        State::Closed => settle(ctx, held).await,
        State::Preparing | State::Ending | State::Done => Ok(()),
    }
}

/// The closing after an event.
fn moved(closing: Closing, event: Event) -> Result<Closing, Error> {
    let state = after(closing.state, event).ok_or(Error::Stored("state of a closing"))?;
    Ok(Closing { state, ..closing })
}

/// Gives a closing up where an error is a refusal that would come again and again, or may last longer than anybody waits,
/// as a run or a payment under way; gives the error.
async fn given_up(ctx: &Ctx, held: Held, error: Error) -> Result<Error, Error> {
    let by_peer = matches!(&error, Error::Peer(status) if is_refusal(status) || passes(status));
    if by_peer || matches!(&error, Error::Close(_)) {
        let held = (moved(held.0, Event::Refused)?, held.1);
        kept(ctx, &held).await?;
        abort(ctx, &held).await?;
    }
    Ok(error)
}

/// Has billing freeze the balance and compute the settlement. A closing that a customer began is refused if by now only
/// an operator may close the account (C-11).
async fn prepared(ctx: &Ctx, closing: &Closing) -> Result<Closing, Error> {
    let mut closing = closing.clone();
    let mut tx = ctx.db.begin_as(Tenant::Root(closing.root_id)).await?;
    let account = accounts::get(&mut tx, closing.account_id).await?;
    tx.commit().await?;
    let account = account.ok_or(Error::Stored("account"))?;
    let policy = ctx.profile_of(&account).await?.close.unwrap_or_default();
    let blocked = &policy.blocked_suspension_reason_codes;
    let mut suspensions = account.suspensions.iter();
    let barred = suspensions.any(|it| blocked.iter().any(|code| code == it.as_str()));
    if barred && !closing.actor.starts_with("operator:") {
        return Err(CloseRefused::ContactSupport.into());
    }
    if closing.is_of_root() {
        let prepared = ctx
            .prepare_closing(closing.root_id, closing.close_at, false)
            .await?;
        closing.settlement_minor = minor(prepared.settlement.as_ref())?;
        closing.refund_minor = minor(prepared.refund.as_ref())?;
        closing.forfeited_micros = micros(prepared.forfeited.as_ref())?;
        closing.due_on = prepared.refund_due_date.parse().ok();
    }
    moved(closing, Event::Prepared)
}

/// Closes the account and its subaccounts here, in one transaction.
async fn closed(ctx: &Ctx, held: Held) -> Result<Held, Error> {
    let held = (moved(held.0, Event::PlansEnded)?, held.1);
    let mut tx = ctx.db.begin_as(Tenant::Root(held.0.root_id)).await?;
    accounts::lock(&mut tx, held.0.root_id).await?;
    keep(&mut tx, &held, ctx.lease_seconds).await?;
    told(&mut tx, &held.0).await?;
    tx.commit().await?;
    Ok(held)
}

/// Tells billing the closing time, settles, and notifies the owner.
async fn settle(ctx: &Ctx, held: Held) -> Result<(), Error> {
    let (mut closing, token) = held;
    // Before the settlement: usage from the closing time on is not billed (D28).
    ctx.record_closing(&closing).await?;
    crash_point("close.recorded");
    if closing.is_of_root() {
        let settled = ctx.settle_closing(&closing).await?;
        crash_point("close.settled");
        closing.settlement_minor = minor(settled.settlement.as_ref())?;
        closing.refund_minor = minor(settled.refund.as_ref())?;
        closing.forfeited_micros = micros(settled.forfeited.as_ref())?;
        closing.due_on = settled.refund_due_date.parse().ok();
        closing.refund_ids = settled.refund_ids;
    }
    // Before the RPC answers: from then on every service refuses the closed account (D37).
    tell_standing::of(ctx, closing.account_id).await?;
    crash_point("close.told");
    let closing = moved(closing, Event::Settled)?;
    let mut tx = ctx.db.begin_as(Tenant::Root(closing.root_id)).await?;
    accounts::lock(&mut tx, closing.root_id).await?;
    let held = (closing, token);
    keep(&mut tx, &held, ctx.lease_seconds).await?;
    let closing = held.0;
    let account = accounts::get(&mut tx, closing.account_id)
        .await?
        .ok_or(Error::Stored("account"))?;
    notify::owner(&mut tx, &account, &notice(&closing)?, closing.close_at).await?;
    tx.commit().await?;
    crash_point("close.done");
    ctx.wake.notify_waiters();
    Ok(())
}

/// The notification of the closing (REQ-074).
fn notice(closing: &Closing) -> Result<News, Error> {
    let id = AccountId::from_uuid(closing.account_id);
    let currency: Currency = closing
        .currency
        .parse()
        .map_err(|_| Error::Stored("currency"))?;
    let money = |minor| {
        let money = Money::from_minor(minor, currency);
        format!("{} {money}", currency.code())
    };
    let mut facts = vec![
        ("close_time", closing.close_at.to_rfc3339()),
        ("settlement_amount", money(closing.settlement_minor)),
        ("refund_amount", money(closing.refund_minor)),
    ];
    if let Some(day) = closing.due_on {
        facts.push(("refund_due_date", day.to_string()));
    }
    if 0 < closing.forfeited_micros {
        let lost = Amount::from_micros(closing.forfeited_micros, currency);
        facts.push(("forfeited_amount", format!("{} {lost:#}", currency.code())));
    }
    facts.push(("purge_time", closing.purge_at.to_rfc3339()));
    Ok(News {
        kind: Kind::AccountClosed,
        event: format!("closed {id}"),
        facts,
        invoice: None,
    })
}

/// Aborts a closing before anything was closed; billing records the abort.
async fn abort(ctx: &Ctx, (closing, token): &Held) -> Result<(), Error> {
    if closing.is_of_root() {
        ctx.abort_closing(closing).await?;
    }
    let mut tx = ctx.db.begin_as(Tenant::Root(closing.root_id)).await?;
    closings::delete(&mut tx, (closing.account_id, *token)).await?;
    tx.commit().await?;
    // Catches up on timeline changes, which are not followed while a closing is in progress.
    let account = AccountId::from_uuid(closing.root_id);
    let mut tx = ctx.db.begin_as(Tenant::Root(closing.root_id)).await?;
    let root = accounts::get(&mut tx, closing.root_id).await?;
    tx.commit().await?;
    let root = root.ok_or(Error::Stored("account"))?;
    for family in ctx.profile_of(&root).await?.families {
        let segments = ctx.segments(account, &family).await?;
        let now = ctx.clock.now().await?;
        let mut tx = ctx.db.begin_as(Tenant::Root(closing.root_id)).await?;
        limit::follow(&mut tx, closing.root_id, &segments, now).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Stores the progress of a closing.
async fn kept(ctx: &Ctx, held: &Held) -> Result<(), Error> {
    let mut tx = ctx.db.begin_as(Tenant::Root(held.0.root_id)).await?;
    keep(&mut tx, held, ctx.lease_seconds).await?;
    tx.commit().await?;
    Ok(())
}

async fn keep(db: &mut PgConnection, (closing, token): &Held, lease: i64) -> Result<(), Error> {
    if closings::set(db, (closing, *token), lease).await? {
        Ok(())
    } else {
        Err(Error::Twin(chassis::Twin))
    }
}

/// Closes the account and its open subaccounts, records it in their histories, and releases their numbers.
async fn told(db: &mut PgConnection, closing: &Closing) -> Result<(), Error> {
    let closed = accounts::close(db, closing.account_id, closing.close_at).await?;
    for (account, suspended) in closed {
        let before = if suspended {
            Status::Suspended
        } else {
            Status::Active
        };
        let told = Told {
            state: "STATUS",
            name: "CLOSED",
            change: (before.as_str(), Status::Closed.as_str()),
            actor: &closing.actor,
            reason: closing.option.as_str(),
            resource: "",
        };
        history::tell(db, (closing.root_id, account), &told, closing.close_at).await?;
        resources::release_numbers(db, account, closing.close_at).await?;
    }
    Ok(())
}

fn minor(money: Option<&WireMoney>) -> Result<i64, Error> {
    let bad = || Error::Stored("money of billing");
    let money = money.ok_or_else(bad)?;
    let currency: Currency = money.currency_code.parse().map_err(|_| bad())?;
    Ok(Money::parse(&money.amount, currency)
        .map_err(|_| bad())?
        .minor())
}

fn micros(amount: Option<&WireAmount>) -> Result<i64, Error> {
    let bad = || Error::Stored("amount of billing");
    let amount = amount.ok_or_else(bad)?;
    let currency: Currency = amount.currency_code.parse().map_err(|_| bad())?;
    Ok(Amount::parse(&amount.amount, currency)
        .map_err(|_| bad())?
        .micros())
}
