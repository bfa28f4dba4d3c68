//! Follows the balance changes of `billing`. An empty balance suspends the account if the profile says so, and a top-up
//! lifts the suspension (REQ-132, D4). The owner is notified of low balances, failed renewals, open invoices and what is
//! paid of them, disputed payments, and auto-recharge that has been turned off or paused.

use chassis::{Aside, PgConnection, wire};
use chrono::{DateTime, Utc};
use proto::billing::v1 as billing;
use proto::r#type::v1::Money;
use tonic::Status;
use uuid::Uuid;
use values::{AccountId, InvoiceId};

use super::queue;
use crate::clients::Profile;
use crate::ctx::Ctx;
use crate::domain::account::Suspension;
use crate::domain::notice::Kind;
use crate::error::Error;
use crate::ops::notify::{self, News};
use crate::ops::{hold, suspend};
use crate::store::accounts::Account;
use crate::store::{Tenant, accounts, watch_positions};

/// Name of this source in `watch_positions`.
const SOURCE: &str = "billing.balances";
/// Name of this job.
const JOB: &str = "follow_balances";

/// Processes every change since the last step; returns how many.
pub async fn step(ctx: &Ctx) -> Result<usize, Error> {
    let mut from = position(ctx).await?;
    let news = open(ctx, &from, false).await?;
    chassis::follow(&ctx.stopping, news, async |change| {
        if let Err(error) = take(ctx, Some(from.as_str()), &change).await {
            if !chassis::is_permanent(&error) {
                return Err(error);
            }
            // A change that can't be processed must not stop the others.
            tracing::error!(account.id = change.account_id, error = %chassis::Chain(&error), "put aside a balance change that cannot be processed");
            let places = (from.as_str(), change.resume_token.as_str());
            let passed = Aside::change(&change.account_id, places);
            let reason = chassis::Chain(&error).to_string();
            let mut tx = ctx.db.begin_as(Tenant::All).await?;
            pass(&mut tx, places).await?;
            queue(ctx, JOB)
                .put_aside::<Ctx>(&mut tx, &passed, &reason)
                .await?;
            tx.commit().await?;
        }
        from = change.resume_token;
        Ok(())
    })
    .await
}

/// Processes the changes put aside that are due: each is read again from the stream; returns how many.
pub async fn again(ctx: &Ctx) -> Result<usize, Error> {
    let queue = queue(ctx, JOB);
    let due = async |limit| Ok::<_, Error>(queue.due_aside(ctx, limit).await?);
    let one = async |passed: &Aside| {
        let news = open(ctx, &passed.input, true).await?;
        let found = chassis::first_of(news, |it| {
            it.caught_up || passed.key.starts_with(&it.account_id)
        });
        let change = found.await?;
        if change.caught_up {
            return Ok::<_, Error>(());
        }
        take(ctx, None, &change).await
    };
    queue.work(ctx, due, one).await
}

/// Advances the position; fails if another replica has advanced it in the meantime.
async fn pass(db: &mut PgConnection, places: (&str, &str)) -> Result<(), Error> {
    if watch_positions::advance(db, SOURCE, places).await? {
        Ok(())
    } else {
        Err(Error::Twin(chassis::Twin))
    }
}

/// The stored position.
async fn position(ctx: &Ctx) -> Result<String, Error> {
    let mut db = ctx.db.acquire().await?;
    Ok(watch_positions::get(&mut db, SOURCE).await?)
}

/// Opens the stream after a position.
async fn open(
    ctx: &Ctx,
    from: &str,
    allow_bookmark: bool,
) -> Result<tonic::Streaming<billing::WatchBalancesResponse>, Error> {
    let request = billing::WatchBalancesRequest {
        resume_token: from.to_owned(),
        allow_bookmark,
    };
    let opened = ctx.billing.clone().watch_balances(request).await;
    Ok(opened.map_err(chassis::normalised)?.into_inner())
}

/// Processes one change and advances the position in the same transaction, unless the change was put aside before.
///
/// A change may be delivered again long after it happened. The suspension therefore follows the present balance, not
/// the balance in the change.
async fn take(
    ctx: &Ctx,
    from: Option<&str>,
    change: &billing::WatchBalancesResponse,
) -> Result<(), Error> {
    let now = ctx.clock.now().await?;
    let root: AccountId = change
        .account_id
        .parse()
        .map_err(|_| Error::Stored("id of billing"))?;
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    let account = accounts::get(&mut tx, root.uuid()).await?;
    tx.commit().await?;
    let profile = match &account {
        Some(account)
            if change.threshold_code == "ZERO"
                && !account.invoiced
                && account.closed_at.is_none() =>
        {
            Some(ctx.profile_of(account).await?)
        }
        Some(_) | None => None,
    };
    let mut is_empty = false;
    if profile.is_some() {
        is_empty = ctx.balance(root.uuid(), None).await? <= 0;
    }
    let mut tx = ctx.db.begin_as(Tenant::All).await?;
    if let Some(account) = &account {
        tell(&mut tx, account, change, now).await?;
    }
    if let Some(profile) = &profile {
        stands(&mut tx, root.uuid(), (profile, is_empty), now).await?;
    }
    if let Some(from) = from {
        pass(&mut tx, (from, &change.resume_token)).await?;
    }
    tx.commit().await?;
    // Another replica may have processed a later change between the read and the commit. That change is not delivered
    // again, so the balance is read once more.
    while let Some(profile) = &profile {
        let was_empty = is_empty;
        is_empty = ctx.balance(root.uuid(), None).await? <= 0;
        if is_empty == was_empty {
            break;
        }
        let mut tx = ctx.db.begin_as(Tenant::All).await?;
        stands(&mut tx, root.uuid(), (profile, is_empty), now).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Records whether the balance of a root account is empty, and applies what follows from it.
async fn stands(
    db: &mut PgConnection,
    root: Uuid,
    (profile, is_empty): (&Profile, bool),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    accounts::lock(db, root).await?;
    accounts::set_empty(db, root, is_empty.then_some(now)).await?;
    hold::dated(db, root, profile.hold_days, now).await?;
    if profile.suspends_at_zero {
        suspend::set(
            db,
            root,
            (Suspension::Balance, is_empty),
            ("service:billing", ""),
            now,
        )
        .await?;
    }
    Ok(())
}

/// Notifies an account's owner of a change.
async fn tell(
    db: &mut PgConnection,
    account: &Account,
    change: &billing::WatchBalancesResponse,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let news = if let Some(failed) = &change.failed_renewal {
        renewal_failed(failed, event("renewal", change), now)?
    } else if let Some(open) = &change.open_invoice {
        invoice_open(open, event("invoice", change))?
    } else if let Some(received) = &change.received_payment {
        payment_received(received, event("payment", change))?
    } else if let Some(disputed) = &change.disputed_charge {
        charge_disputed(disputed, event("dispute", change))?
    } else if !change.recharge_disable_reason.is_empty() {
        News {
            kind: Kind::AutoRechargeOff,
            event: event("recharge", change),
            facts: vec![("reason", change.recharge_disable_reason.clone())],
            invoice: None,
        }
    } else if change.recharge_pause_end_time.is_some() {
        recharge_paused(change)?
    } else if change.below {
        balance_fallen(change)
    } else {
        return Ok(());
    };
    notify::owner(db, account, &news, now).await
}

/// The identity of a change: the account and the change's position. Not its resume token, which differs between
/// readers: two replicas that receive the same change must notify once.
fn event(what: &str, change: &billing::WatchBalancesResponse) -> String {
    format!("{what} {} {}", change.account_id, change.position)
}

/// The notification of a failed renewal: the reason, and either the next attempt or the end of the plan.
fn renewal_failed(
    failed: &billing::FailedRenewal,
    event: String,
    now: DateTime<Utc>,
) -> Result<News, Error> {
    let next = wire::optional_instant("next_attempt_time", failed.next_attempt_time);
    let next = next.map_err(|_| Error::Stored("instant of billing"))?;
    let then = match next {
        Some(at) => ("next_attempt_time", at.to_rfc3339()),
        None => ("plan_end_time", now.to_rfc3339()),
    };
    Ok(News {
        kind: Kind::RenewalFailed,
        event,
        facts: vec![("reason", failed.failure_reason.clone()), then],
        invoice: None,
    })
}

/// The notification that auto-recharge is paused after several charges within an hour.
fn recharge_paused(change: &billing::WatchBalancesResponse) -> Result<News, Error> {
    let until = wire::optional_instant("recharge_pause_end_time", change.recharge_pause_end_time);
    let until = until.ok().flatten();
    let until = until.ok_or(Error::Stored("instant of billing"))?;
    Ok(News {
        kind: Kind::AutoRechargePaused,
        event: event("recharge", change),
        facts: vec![("pause_end_time", until.to_rfc3339())],
        invoice: None,
    })
}

/// The notification of an open or overdue invoice, which is attached.
fn invoice_open(open: &billing::OpenInvoice, event: String) -> Result<News, Error> {
    let invoice: InvoiceId = open
        .invoice_id
        .parse()
        .map_err(|_| Error::Stored("id of billing"))?;
    let mut facts = vec![
        ("invoice_number", open.number.clone()),
        ("amount_due", sum(open.amount_due.as_ref())),
        ("due_date", open.due_date.clone()),
    ];
    if !open.failure_reason.is_empty() {
        facts.push(("reason", open.failure_reason.clone()));
    }
    let kind = if open.overdue {
        Kind::InvoiceOverdue
    } else {
        Kind::InvoiceIssued
    };
    Ok(News {
        kind,
        event,
        facts,
        invoice: Some(invoice.uuid()),
    })
}

/// A sum of money as a fact.
fn sum(of: Option<&Money>) -> String {
    let of = of.cloned().unwrap_or_default();
    format!("{} {}", of.currency_code, of.amount)
}

/// The receipt for a payment of an open invoice, which is attached: what was paid, and what is still due.
fn payment_received(received: &billing::ReceivedPayment, event: String) -> Result<News, Error> {
    let invoice: InvoiceId = received
        .invoice_id
        .parse()
        .map_err(|_| Error::Stored("id of billing"))?;
    let due = wire::money("amount_due", received.amount_due.as_ref());
    let due = due.map_err(|_| Error::Stored("sum of billing"))?;
    let mut facts = vec![
        ("invoice_number", received.number.clone()),
        ("amount", sum(received.amount.as_ref())),
    ];
    if due.minor() != 0 {
        facts.push(("amount_due", sum(received.amount_due.as_ref())));
    }
    Ok(News {
        kind: Kind::PaymentReceived,
        event,
        facts,
        invoice: Some(invoice.uuid()),
    })
}

/// The notification that a payment is disputed, or of the decision: the amount, until when evidence is accepted, and
/// the credit that was taken or returned.
fn charge_disputed(disputed: &billing::DisputedCharge, event: String) -> Result<News, Error> {
    use billing::disputed_charge::State;
    let kind = match disputed.state() {
        State::Open => Kind::ChargebackOpened,
        State::Won => Kind::ChargebackWon,
        State::Lost => Kind::ChargebackLost,
        State::Unspecified => return Err(Error::Stored("state of a dispute")),
    };
    let due = wire::optional_instant("evidence_due_time", disputed.evidence_due_time);
    let due = due.map_err(|_| Error::Stored("instant of billing"))?;
    let mut facts = vec![("amount", sum(disputed.amount.as_ref()))];
    facts.extend(due.map(|at| ("evidence_due_time", at.to_rfc3339())));
    let credit = disputed.credit_amount.as_ref();
    facts.extend(credit.map(|it| {
        let credit = format!("{} {}", it.currency_code, it.amount);
        ("credit_amount", credit)
    }));
    Ok(News {
        kind,
        event,
        facts,
        invoice: None,
    })
}

/// The notification that a balance has fallen below a threshold.
fn balance_fallen(change: &billing::WatchBalancesResponse) -> News {
    let kind = if change.threshold_code == "ZERO" {
        Kind::BalanceEmpty
    } else {
        Kind::BalanceLow
    };
    let balance = change.balance.clone().unwrap_or_default();
    let left = format!("{} {}", balance.currency_code, balance.amount);
    News {
        kind,
        event: event("balance", change),
        facts: vec![("balance", left)],
        invoice: None,
    }
}

/// Whether there are changes that have not been processed. The test clock waits for them.
pub async fn any_due(ctx: &Ctx) -> Result<bool, Status> {
    let from = position(ctx).await?;
    let first = open(ctx, &from, true).await?.message().await?;
    Ok(first.is_none_or(|first| !first.caught_up))
}

#[cfg(test)]
mod tests {
    use proto::r#type::v1::Amount;

    use super::*;

    #[test]
    fn a_change_that_two_replicas_are_told_of_is_one_event() {
        let told = |resume_token: &str, position| {
            let change = billing::WatchBalancesResponse {
                account_id: "AC1".to_owned(),
                resume_token: resume_token.to_owned(),
                position,
                recharge_pause_end_time: Some(wire::timestamp(
                    "2026-04-01T00:00:00Z".parse().unwrap(),
                )),
                ..billing::WatchBalancesResponse::default()
            };
            (
                event("balance", &change),
                recharge_paused(&change).unwrap().event,
            )
        };
        assert_eq!(told("1:5:/5:9:/7/1-1", 7), told("1:6:/6:9:/7/1-1", 7));
        assert_ne!(told("1:5:/5:9:/7/1-1", 7), told("1:5:/5:9:/8/1-1", 8));
    }

    #[test]
    fn a_dispute_says_what_it_is_about_and_what_it_moved() {
        use billing::disputed_charge::State;
        let dispute = |state: State| billing::DisputedCharge {
            amount: Some(Money {
                currency_code: "USD".to_owned(),
                amount: "100.00".to_owned(),
            }),
            state: state.into(),
            ..billing::DisputedCharge::default()
        };
        let told = |it: &billing::DisputedCharge| charge_disputed(it, String::new());
        let amount = ("amount", "USD 100.00".to_owned());
        let opened = billing::DisputedCharge {
            evidence_due_time: Some(wire::timestamp("2026-04-01T00:00:00Z".parse().unwrap())),
            ..dispute(State::Open)
        };
        let news = told(&opened).unwrap();
        let due = "2026-04-01T00:00:00+00:00".to_owned();
        assert_eq!(news.kind, Kind::ChargebackOpened);
        assert_eq!(news.facts, [amount.clone(), ("evidence_due_time", due)]);
        let lost = billing::DisputedCharge {
            credit_amount: Some(Amount {
                currency_code: "USD".to_owned(),
                amount: "80.000000".to_owned(),
            }),
            ..dispute(State::Lost)
        };
        let news = told(&lost).unwrap();
        let credit = ("credit_amount", "USD 80.000000".to_owned());
        assert_eq!(news.kind, Kind::ChargebackLost);
        assert_eq!(news.facts, [amount.clone(), credit]);
        let won = told(&dispute(State::Won)).unwrap();
        assert_eq!((won.kind, won.facts), (Kind::ChargebackWon, vec![amount]));
        assert!(told(&dispute(State::Unspecified)).is_err());
    }
}
